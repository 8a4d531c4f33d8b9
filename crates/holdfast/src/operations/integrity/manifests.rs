//! Manifests against what was drawn from them: a pure comparison.

use holdfast_metadata::{BlobReference, ManifestRecord, Repair};
use holdfast_model::{Digest, Hasher, Manifest};

use super::report::Kind;

/// What is wrong with a manifest, and how it is mended where that follows from its payload.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    pub(super) detail: String,
    pub(super) repair: Option<Repair>,
}

/// Compares a manifest with what was drawn from it.
pub(super) fn differences(record: &ManifestRecord) -> Vec<Difference> {
    let mut found = unlinked(record);
    let difference = |kind, detail: &str, repair| Difference {
        kind,
        digest: record.digest,
        detail: detail.to_owned(),
        repair,
    };
    if Hasher::digest(record.digest.algorithm(), &record.payload) != record.digest {
        let detail = "the stored payload has another digest";
        found.push(difference(Kind::ManifestDigest, detail, None));
        return found;
    }
    // What another release or another registry could read is not for this one to judge.
    let Ok(manifest) = Manifest::parse(&record.media_type, &record.payload) else {
        return found;
    };
    let (repo_id, id) = (record.repo_id, record.id);
    let subject = manifest.subject.as_ref().map(|subject| subject.digest);
    let image_size = manifest
        .blobs()
        .fold(0_u64, |sum, blob| sum.saturating_add(blob.size))
        .min(i64::MAX.unsigned_abs());
    let facts = [
        (
            "artifact type",
            manifest.artifact_type == record.artifact_type,
        ),
        ("subject", subject == record.subject),
        (
            "annotations",
            manifest.annotations == record.annotations_json,
        ),
        ("size", image_size == record.image_size),
    ];
    let wrong: Vec<&str> = facts
        .iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| *name)
        .collect();
    if !wrong.is_empty() {
        let repair = Repair::ManifestFacts {
            repo_id,
            id,
            artifact_type: manifest.artifact_type.clone(),
            subject,
            annotations_json: manifest.annotations.clone(),
            image_size,
        };
        found.push(difference(
            Kind::ManifestFacts,
            &format!("the manifest says otherwise of: {}", wrong.join(", ")),
            Some(repair),
        ));
    }
    // Of members with one digest the first counts, as when it was stored.
    let mut children: Vec<(Digest, Option<String>)> = Vec::new();
    for child in &manifest.children {
        if children.iter().all(|(digest, _)| *digest != child.digest) {
            let platform = child.platform.as_ref().map(|platform| platform.spelled());
            children.push((child.digest, platform));
        }
    }
    children.sort();
    if children != record.children {
        let repair = Repair::ManifestChildren {
            repo_id,
            id,
            children: children.clone(),
        };
        let detail = "the members of the index are recorded otherwise";
        found.push(difference(Kind::ManifestChildren, detail, Some(repair)));
    }
    let named: Vec<Digest> = manifest.blobs().map(|blob| blob.digest).collect();
    let children: Vec<Digest> = children.into_iter().map(|(digest, _)| digest).collect();
    if !names_these(record, &named, &children) {
        let repair = Repair::ManifestBlobs {
            repo_id,
            id,
            blobs: manifest
                .blobs()
                .map(|blob| BlobReference {
                    digest: blob.digest,
                    media_type: blob.media_type.clone(),
                    size: blob.size,
                    required: false,
                })
                .collect(),
            children,
        };
        let detail = "config and layers are recorded otherwise";
        found.push(difference(Kind::ManifestBlobs, detail, Some(repair)));
    }
    found
}

/// Blobs that the manifest counts on and the repository does not have.
fn unlinked(record: &ManifestRecord) -> Vec<Difference> {
    let broken = record
        .blobs
        .iter()
        .filter(|blob| !blob.awaited && !blob.linked);
    let mut digests: Vec<Digest> = broken.map(|blob| blob.digest).collect();
    digests.sort();
    digests.dedup();
    let name = |digest| Difference {
        kind: Kind::BlobUnlinked,
        digest,
        detail: format!(
            "needed by manifest {}, not in the repository",
            record.digest
        ),
        repair: Some(Repair::RestoreLink {
            repo_id: record.repo_id,
            digest,
        }),
    };
    digests.into_iter().map(name).collect()
}

/// Whether config and layers stand in their places, and behind them nothing but members of the index: which
/// of those are rows depends on what the repository had when it came.
fn names_these(record: &ManifestRecord, named: &[Digest], children: &[Digest]) -> bool {
    let recorded = |position: usize| {
        let at = |blob: &&holdfast_metadata::NamedBlob| blob.position == position as u64;
        record.blobs.iter().find(at).map(|blob| blob.digest)
    };
    let in_place = named
        .iter()
        .enumerate()
        .all(|(position, digest)| recorded(position) == Some(*digest));
    let behind = record
        .blobs
        .iter()
        .filter(|blob| blob.position >= named.len() as u64);
    in_place
        && behind
            .map(|blob| blob.digest)
            .all(|digest| children.contains(&digest))
}

#[cfg(test)]
mod tests {
    use holdfast_metadata::NamedBlob;
    use holdfast_model::{Algorithm, MediaType};
    use proptest::prelude::*;

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::sha256([number; 32])
    }

    /// A manifest as it is recorded when it is pushed.
    fn record(layers: &[u8], index: bool) -> ManifestRecord {
        let descriptor = |number: &u8| serde_json::json!({"mediaType": "x/y", "digest": digest(*number), "size": 3});
        let list: Vec<_> = layers.iter().map(descriptor).collect();
        let (media_type, payload) = if index {
            let payload = serde_json::json!({"schemaVersion": 2, "manifests": list,
                "annotations": {"a": "b"}});
            (MediaType::OCI_INDEX, payload)
        } else {
            let payload = serde_json::json!({"schemaVersion": 2, "config": descriptor(&200), "layers": list,
                "subject": descriptor(&201)});
            (MediaType::OCI_MANIFEST, payload)
        };
        let payload = payload.to_string().into_bytes();
        let manifest = Manifest::parse(&media_type, &payload).unwrap();
        let mut children: Vec<_> = manifest
            .children
            .iter()
            .map(|child| (child.digest, None))
            .collect();
        children.sort();
        children.dedup();
        ManifestRecord {
            repo_id: 1,
            repository: Some("a".to_owned()),
            id: 2,
            digest: Hasher::digest(Algorithm::Sha256, &payload),
            artifact_type: manifest.artifact_type.clone(),
            subject: manifest.subject.as_ref().map(|subject| subject.digest),
            annotations_json: manifest.annotations.clone(),
            image_size: manifest.blobs().map(|blob| blob.size).sum(),
            blobs: (0..)
                .zip(manifest.blobs())
                .map(|(position, blob)| NamedBlob {
                    position,
                    digest: blob.digest,
                    awaited: position % 2 == 1,
                    linked: position % 2 == 0,
                })
                .collect(),
            children,
            media_type,
            payload,
        }
    }

    fn kinds(record: &ManifestRecord) -> Vec<Kind> {
        differences(record).iter().map(|one| one.kind).collect()
    }

    proptest! {
        #[test]
        fn what_was_just_recorded_differs_in_nothing(
            layers in proptest::collection::vec(0_u8..5, 0..8),
            index in any::<bool>(),
        ) {
            prop_assert_eq!(kinds(&record(&layers, index)), []);
        }

        #[test]
        fn every_change_is_found(
            layers in proptest::collection::vec(0_u8..5, 1..8),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let image = || record(&layers, false);
            let mut flipped = image();
            let byte = at.index(flipped.payload.len());
            flipped.payload[byte] ^= 1 << bit;
            prop_assert_eq!(kinds(&flipped), [Kind::ManifestDigest]);

            let mut moved = image();
            let blob = at.index(moved.blobs.len());
            moved.blobs[blob].digest = digest(99);
            prop_assert_eq!(kinds(&moved), [Kind::ManifestBlobs]);
            let mut fewer = image();
            fewer.blobs.remove(blob);
            prop_assert_eq!(kinds(&fewer), [Kind::ManifestBlobs]);
            let mut more = image();
            let mut extra = more.blobs[0].clone();
            extra.position = 100;
            more.blobs.push(extra);
            prop_assert_eq!(kinds(&more), [Kind::ManifestBlobs]);

            let mut index = record(&layers, true);
            index.children.remove(at.index(index.children.len()));
            prop_assert_eq!(kinds(&index), [Kind::ManifestChildren]);
        }
    }

    #[test]
    fn facts() {
        let changes: [fn(&mut ManifestRecord); 4] = [
            |record| record.artifact_type = Some("other".to_owned()),
            |record| record.subject = None,
            |record| record.annotations_json = Some("{}".to_owned()),
            |record| record.image_size += 1,
        ];
        for change in changes {
            let mut record = record(&[1, 2], false);
            change(&mut record);
            assert_eq!(kinds(&record), [Kind::ManifestFacts]);
        }
    }

    #[test]
    fn links_and_members() {
        let mut image = record(&[1, 2], false);
        image.blobs[0].linked = false;
        assert_eq!(kinds(&image), [Kind::BlobUnlinked]);
        // A member may be a blob, or wait to become one.
        let mut index = record(&[1, 2], true);
        index.blobs.push(NamedBlob {
            position: 1,
            digest: digest(2),
            awaited: true,
            linked: false,
        });
        assert_eq!(kinds(&index), []);
        index.blobs[0].digest = digest(7);
        assert_eq!(kinds(&index), [Kind::ManifestBlobs]);
    }
}
