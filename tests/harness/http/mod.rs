//! A blocking HTTP/1.1 client that sends exactly what it is told and shows exactly what it got.
//!
//! Every request has its own connection; nothing is followed, retried, decoded or added except `Host` and
//! `Connection: close`. A request can be cut off in the middle, as a dying client would.
//! Source: RFC 9112.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::{Blob, Image};
pub use raw::Raw;
pub use request::Request;
use request::Stream;
pub use response::Response;

mod raw;
mod request;
mod response;

/// How long a read or a write may stand still, unless a client says so.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    host: String,
    authorization: Option<String>,
    /// How long a read or a write may stand still.
    patience: Duration,
}

#[derive(Clone, Debug)]
enum Address {
    Tcp(String),
    Unix(PathBuf),
}

impl Client {
    /// A client for `host:port`.
    #[must_use]
    pub fn tcp(host: &str) -> Self {
        Self {
            address: Address::Tcp(host.to_owned()),
            host: host.to_owned(),
            authorization: None,
            patience: TIMEOUT,
        }
    }

    /// A client for a Unix socket.
    #[must_use]
    pub fn unix(path: &Path) -> Self {
        Self {
            address: Address::Unix(path.to_owned()),
            host: "localhost".to_owned(),
            authorization: None,
            patience: TIMEOUT,
        }
    }

    /// The same client, sending a user name and a password with every request.
    #[must_use]
    pub fn with_password(mut self, user: &str, password: &str) -> Self {
        self.authorization = Some(format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{user}:{password}"))
        ));
        self
    }

    /// The same client, which waits longer, or not so long.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A request. The target is a path with its query, or a whole URL as `Location` gives it.
    #[must_use]
    pub fn request(&self, method: &str, target: &str) -> Request<'_> {
        let target = match target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => target,
        };
        let mut headers = vec![("Host", self.host.as_str()), ("Connection", "close")];
        headers.extend(
            self.authorization
                .as_deref()
                .map(|value| ("Authorization", value)),
        );
        Request::new(self, method, target, &headers)
    }

    /// A GET request.
    #[must_use]
    pub fn get(&self, target: &str) -> Request<'_> {
        self.request("GET", target)
    }

    /// A HEAD request.
    #[must_use]
    pub fn head(&self, target: &str) -> Request<'_> {
        self.request("HEAD", target)
    }

    /// A POST request.
    #[must_use]
    pub fn post(&self, target: &str) -> Request<'_> {
        self.request("POST", target)
    }

    /// A PUT request.
    #[must_use]
    pub fn put(&self, target: &str) -> Request<'_> {
        self.request("PUT", target)
    }

    /// A PATCH request.
    #[must_use]
    pub fn patch(&self, target: &str) -> Request<'_> {
        self.request("PATCH", target)
    }

    /// A DELETE request.
    #[must_use]
    pub fn delete(&self, target: &str) -> Request<'_> {
        self.request("DELETE", target)
    }

    /// Uploads a blob by POST and PUT.
    ///
    /// # Panics
    /// When the registry refuses it.
    #[track_caller]
    pub fn push_blob(&self, repository: &str, blob: &Blob) {
        let session = self
            .post(&format!("/v2/{repository}/blobs/uploads/"))
            .body("")
            .send()
            .expect(202);
        let location = session.location();
        let separator = if location.contains('?') { '&' } else { '?' };
        self.put(&format!("{location}{separator}digest={}", blob.digest))
            .header("Content-Type", "application/octet-stream")
            .body(blob.bytes.clone())
            .send()
            .expect(201);
    }

    /// Puts a manifest under a tag or digest.
    ///
    /// # Panics
    /// When the registry refuses it.
    #[track_caller]
    pub fn push_manifest(&self, repository: &str, reference: &str, manifest: &Blob) {
        self.put(&format!("/v2/{repository}/manifests/{reference}"))
            .header("Content-Type", manifest.media_type)
            .body(manifest.bytes.clone())
            .send()
            .expect(201);
    }

    /// Pushes an image: its blobs, then its manifest.
    ///
    /// # Panics
    /// When the registry refuses a part.
    #[track_caller]
    pub fn push_image(&self, repository: &str, reference: &str, image: &Image) {
        for blob in image.blobs() {
            self.push_blob(repository, blob);
        }
        self.push_manifest(repository, reference, &image.manifest);
    }

    /// The tags of a repository, in the order given.
    ///
    /// # Panics
    /// When the registry does not list them.
    #[must_use]
    #[track_caller]
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let list = self
            .get(&format!("/v2/{repository}/tags/list"))
            .send()
            .expect(200)
            .json();
        let tags = list["tags"].as_array().cloned().unwrap_or_default();
        tags.iter()
            .filter_map(|tag| tag.as_str().map(str::to_owned))
            .collect()
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(self.patience))?;
                stream.set_write_timeout(Some(self.patience))?;
                Ok(Box::new(stream))
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(self.patience))?;
                stream.set_write_timeout(Some(self.patience))?;
                Ok(Box::new(stream))
            }
        }
    }
}
