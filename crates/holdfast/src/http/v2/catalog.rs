//! `GET /v2/_catalog`: the repositories that hold a manifest, in byte order.

use http::{Response, StatusCode};
use serde_json::json as value;

use super::{Exchange, json, link_next, page_size};
use crate::http::action::Page;
use crate::http::body::Body;
use crate::http::error::{Code, Error};
use crate::operations;

/// Entries when the client names no number. Source: Distribution.
const DEFAULT_ENTRIES: u64 = 100;

pub(super) async fn list(exchange: &Exchange, page: Page) -> Result<Response<Body>, Error> {
    let most = exchange.app.http.catalog_entries;
    if let Some(asked) = page.limit.filter(|asked| *asked > most) {
        return Err(Error::new(
            StatusCode::BAD_REQUEST,
            Code::PaginationNumberInvalid,
            value!({"n": asked}),
        ));
    }
    let size = page_size(&page, DEFAULT_ENTRIES, most);
    let mut names = Vec::new();
    if !size.none {
        let listed = exchange
            .app
            .operations
            .metadata()
            .repositories(page.after.as_deref(), size.limit + 1)
            .await;
        names = listed.map_err(operations::Error::from)?;
    }
    let more = names.len() > size.limit;
    names.truncate(size.limit);
    let mut response = json(
        StatusCode::OK,
        "application/json",
        format!("{}\n", value!({"repositories": names})),
    );
    if let Some(last) = names.last().filter(|_| more) {
        link_next(
            exchange,
            &mut response,
            "/v2/_catalog",
            &[("last", last.as_str()), ("n", &size.limit.to_string())],
        );
    }
    Ok(response)
}
