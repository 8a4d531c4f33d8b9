//! What clients do with a registry. Source: OCI distribution-spec, "Pushing" and "Pulling".

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Connection, Request, Target};
use crate::Result;
use crate::content::{Blob, Content, digest};
use crate::workload::{CONFIG, MANIFEST_TYPE, image_manifest};

const OCTETS: &str = "Content-Type: application/octet-stream\r\n";
const NO_LOCATION: &str = "the answer has no Location";

/// How the bytes of a blob are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// `POST`, then `PUT` with the whole blob.
    Whole,
    /// `POST`, then `PATCH` with a chunked body, then an empty `PUT`: as Docker does.
    Chunked,
}

impl Target {
    /// `GET` of a blob.
    pub(crate) fn get_blob(&self, repository: &str, digest: &str) -> Request {
        self.request("GET", &format!("/v2/{repository}/blobs/{digest}"), "", 200)
    }

    /// `HEAD` of a blob.
    pub(crate) fn head_blob(&self, repository: &str, digest: &str) -> Request {
        self.request("HEAD", &format!("/v2/{repository}/blobs/{digest}"), "", 200)
    }

    /// `GET` of bytes `first` to `last`, the last included.
    pub(crate) fn get_range(
        &self,
        repository: &str,
        digest: &str,
        first: u64,
        last: u64,
    ) -> Request {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let range = format!("Range: bytes={first}-{last}\r\n");
        self.request("GET", &path, &range, 206)
    }

    /// `GET` of a manifest by tag or digest.
    pub(crate) fn get_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
    ) -> Request {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.request("GET", &path, &format!("Accept: {media_type}\r\n"), 200)
    }
}

impl Connection {
    /// Puts a blob in place before a measurement: by a push, or as a file where files are served.
    pub(crate) async fn store(
        &mut self,
        repository: &str,
        content: &Content,
        blob: &Blob,
    ) -> Result<()> {
        match self.target().files.clone() {
            Some(root) => {
                let name = format!("v2/{repository}/blobs/{}", blob.digest);
                write_file(&root.join(name), &content.body(blob))
            }
            None => self.push(repository, content, blob, Upload::Whole).await,
        }
    }

    /// Pushes a blob.
    pub(crate) async fn push(
        &mut self,
        repository: &str,
        content: &Content,
        blob: &Blob,
        upload: Upload,
    ) -> Result<()> {
        let session = self.start_upload(repository).await?;
        self.finish_upload(&session, content, blob, upload).await
    }

    /// `POST`: the place of a new upload session.
    pub(crate) async fn start_upload(&mut self, repository: &str) -> Result<String> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let post = self.target().request("POST", &path, "", 202);
        let head = self.exchange(&post, &[], &mut |_| {}).await?;
        Ok(head.location.ok_or(NO_LOCATION)?)
    }

    /// `POST` that asks for a blob of another repository; the place of an upload session where it is refused.
    pub(crate) async fn mount(
        &mut self,
        repository: &str,
        digest: &str,
        from: &str,
    ) -> Result<Option<String>> {
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let post = self.target().request("POST", &path, "", 201).or(202);
        let head = self.exchange(&post, &[], &mut |_| {}).await?;
        match head.status {
            201 => Ok(None),
            _ => Ok(Some(head.location.ok_or(NO_LOCATION)?)),
        }
    }

    /// Pushes a config, which is not made of [`Content`].
    pub(crate) async fn push_config(&mut self, repository: &str, config: &str) -> Result<()> {
        let digest = digest(Sha256::new_with_prefix(config));
        let session = self.start_upload(repository).await?;
        let bytes = config.len() as u64;
        self.put_blob(&session, &digest, &[config.as_bytes()], bytes)
            .await
    }

    /// Puts an image in place under these references: like [`Connection::store`].
    pub(crate) async fn store_image(
        &mut self,
        repository: &str,
        references: &[&str],
        content: &Content,
        layers: &[Blob],
    ) -> Result<()> {
        for layer in layers {
            self.store(repository, content, layer).await?;
        }
        let manifest = image_manifest(layers);
        match self.target().files.clone() {
            Some(root) => {
                for reference in references {
                    let name = format!("v2/{repository}/manifests/{reference}");
                    write_file(&root.join(name), &[&manifest])?;
                }
            }
            None => {
                self.push_config(repository, CONFIG).await?;
                for reference in references {
                    self.push_manifest(repository, reference, MANIFEST_TYPE, &manifest)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// All that follows the `POST`.
    pub(crate) async fn finish_upload(
        &mut self,
        session: &str,
        content: &Content,
        blob: &Blob,
        upload: Upload,
    ) -> Result<()> {
        match upload {
            Upload::Whole => {
                let body = content.body(blob);
                self.put_blob(session, &blob.digest, &body, blob.bytes)
                    .await
            }
            Upload::Chunked => {
                let headers = format!("{OCTETS}Transfer-Encoding: chunked\r\n");
                let patch = self
                    .target()
                    .request_with_body("PATCH", session, &headers, 202);
                let body = content.chunked_body(blob);
                let head = self.exchange(&patch, &body, &mut |_| {}).await?;
                let session = head.location.ok_or(NO_LOCATION)?;
                self.put_blob(&session, &blob.digest, &[], 0).await
            }
        }
    }

    /// The `PUT` that ends an upload.
    pub(crate) async fn put_blob(
        &mut self,
        session: &str,
        digest: &str,
        body: &[&[u8]],
        bytes: u64,
    ) -> Result<()> {
        let separator = if session.contains('?') { '&' } else { '?' };
        let path = format!("{session}{separator}digest={digest}");
        let headers = format!("{OCTETS}Content-Length: {bytes}\r\n");
        let put = self.target().request_with_body("PUT", &path, &headers, 201);
        self.exchange(&put, body, &mut |_| {}).await?;
        Ok(())
    }

    /// `PUT` of a manifest by tag or digest.
    pub(crate) async fn push_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let headers = format!(
            "Content-Type: {media_type}\r\nContent-Length: {}\r\n",
            bytes.len()
        );
        let put = self.target().request_with_body("PUT", &path, &headers, 201);
        self.exchange(&put, &[bytes], &mut |_| {}).await?;
        Ok(())
    }

    /// Pulls a blob and checks its digest.
    pub(crate) async fn verify(&mut self, repository: &str, blob: &Blob) -> Result<()> {
        let get = self.target().get_blob(repository, &blob.digest);
        let mut hash = Sha256::new();
        self.exchange(&get, &[], &mut |piece| hash.update(piece))
            .await?;
        let found = digest(hash);
        if found != blob.digest {
            return Err(format!("blob {} came back as {found}", blob.digest).into());
        }
        Ok(())
    }
}

/// Stores blobs on a server and checks that it gives each of them back.
pub(crate) async fn store_and_verify(
    target: &Arc<Target>,
    repository: &str,
    content: &Content,
    blobs: &[Blob],
) -> Result<()> {
    let mut connection = Connection::open(target).await?;
    for blob in blobs {
        connection.store(repository, content, blob).await?;
        connection.verify(repository, blob).await?;
    }
    Ok(())
}

fn write_file(path: &std::path::Path, parts: &[&[u8]]) -> Result<()> {
    use std::io::Write as _;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = std::fs::File::create(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    Ok(())
}
