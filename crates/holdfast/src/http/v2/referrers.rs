//! `GET /v2/<name>/referrers/<digest>`: the manifests whose subject is this one, as an OCI index.
//!
//! Always `200`, also for digests and repositories nobody has pushed: a referrer may come before its subject.
//! Source: distribution-spec "Listing Referrers".

use holdfast_model::{Digest, MediaType, RepositoryName};
use http::Response;
use http::header::HeaderName;
use serde_json::value::RawValue;

use super::{Exchange, json, link_next, set};
use crate::http::body::Body;
use crate::http::error::Error;
use crate::operations;

/// Referrers on one page.
const PAGE_ENTRIES: usize = 1000;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: MediaType,
    manifests: Vec<Entry>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: MediaType,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Box<RawValue>>,
}

pub(super) async fn list(
    exchange: &Exchange<'_>,
    repository: &RepositoryName,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<&Digest>,
) -> Result<Response<Body>, Error> {
    let operations = &exchange.app.operations;
    operations.adopted(repository).await?;
    let listed = operations
        .metadata()
        .referrers(repository, subject, artifact_type, after, PAGE_ENTRIES)
        .await;
    let page = listed.map_err(operations::Error::from)?;
    let last = page
        .entries
        .last()
        .map(|referrer| referrer.digest.to_string());
    let manifests = page.entries.into_iter().map(|referrer| Entry {
        media_type: referrer.media_type,
        digest: referrer.digest,
        size: referrer.size,
        artifact_type: referrer.artifact_type,
        annotations: referrer
            .annotations_json
            .and_then(|text| RawValue::from_string(text).ok()),
    });
    let index = Index {
        schema_version: 2,
        media_type: MediaType::OCI_INDEX,
        manifests: manifests.collect(),
    };
    let body = serde_json::to_string(&index).expect("an index of plain values is JSON");
    let mut response = json("application/vnd.oci.image.index.v1+json", body);
    if artifact_type.is_some() {
        set(&mut response, FILTERS_APPLIED, "artifactType");
    }
    if let Some(last) = last.filter(|_| page.more) {
        let mut query = vec![("last", last.as_str())];
        query.extend(artifact_type.map(|kind| ("artifactType", kind)));
        link_next(
            exchange,
            &mut response,
            &format!("/v2/{repository}/referrers/{subject}"),
            &query,
        );
    }
    Ok(response)
}
