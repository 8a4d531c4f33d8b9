//! Pushes and pulls of one blob. Source: OCI distribution-spec, "Pushing blobs" and "Pulling blobs".

use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::connection::{Connection, Request};
use crate::content::{Blob, Content, digest};

const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

/// `POST`, then `PUT` with the whole blob.
pub(super) fn push(
    connection: &mut Connection,
    repository: &str,
    content: &Content,
    blob: &Blob,
) -> Result<()> {
    push_parts(connection, repository, &content.body(blob), &blob.digest)
}

/// `POST`, then `PUT` with these bytes.
pub(super) fn push_parts(
    connection: &mut Connection,
    repository: &str,
    body: &[&[u8]],
    digest: &str,
) -> Result<()> {
    let session = start(connection, repository)?;
    finish(connection, &session, body, digest)
}

/// `POST`, then `PATCH` with the whole blob as a chunked body, then an empty `PUT`: as Docker does.
pub(super) fn push_chunked(
    connection: &mut Connection,
    repository: &str,
    content: &Content,
    blob: &Blob,
) -> Result<()> {
    let session = start(connection, repository)?;
    let patch = Request {
        method: "PATCH",
        target: &session,
        headers: OCTETS,
        status: 202,
    };
    let session = connection
        .send_chunked(patch, &content.chunked_body(blob))?
        .ok_or(NO_LOCATION)?;
    finish(connection, &session, &[], &blob.digest)
}

/// `GET`, all bytes to `sink`; how many there were.
pub(super) fn pull(
    connection: &mut Connection,
    repository: &str,
    blob: &Blob,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<u64> {
    let target = format!("/v2/{repository}/blobs/{}", blob.digest);
    let get = Request {
        method: "GET",
        target: &target,
        headers: "",
        status: 200,
    };
    let mut bytes = 0;
    connection.send(get, &[], &mut |piece| {
        bytes += piece.len() as u64;
        sink(piece);
    })?;
    if bytes != blob.bytes {
        return Err(format!("a blob of {} bytes came back with {bytes}", blob.bytes).into());
    }
    Ok(bytes)
}

/// Pulls a blob and checks its digest.
pub(super) fn verify(connection: &mut Connection, repository: &str, blob: &Blob) -> Result<()> {
    let mut hash = Sha256::new();
    pull(connection, repository, blob, &mut |piece| {
        hash.update(piece)
    })?;
    let found = digest(hash);
    if found != blob.digest {
        return Err(format!("blob {} came back as {found}", blob.digest).into());
    }
    Ok(())
}

const NO_LOCATION: &str = "the answer has no Location";

fn start(connection: &mut Connection, repository: &str) -> Result<String> {
    let target = format!("/v2/{repository}/blobs/uploads/");
    let post = Request {
        method: "POST",
        target: &target,
        headers: "",
        status: 202,
    };
    Ok(connection
        .send(post, &[], &mut |_| {})?
        .ok_or(NO_LOCATION)?)
}

fn finish(connection: &mut Connection, session: &str, body: &[&[u8]], digest: &str) -> Result<()> {
    let separator = if session.contains('?') { '&' } else { '?' };
    let target = format!("{session}{separator}digest={digest}");
    let put = Request {
        method: "PUT",
        target: &target,
        headers: OCTETS,
        status: 201,
    };
    connection.send(put, body, &mut |_| {})?;
    Ok(())
}
