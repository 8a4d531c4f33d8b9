//! One large blob on one connection.

use std::net::SocketAddr;

use super::{Fixture, Scale, Workload, blob};
use crate::Result;
use crate::connection::Connection;
use crate::content::Content;
use crate::measure::{Unit, Work};

const REPOSITORY: &str = "bench/large";

/// A push in one piece.
pub(super) struct Push;

impl Workload for Push {
    fn name(&self) -> &'static str {
        "push, POST and PUT"
    }

    fn unit(&self) -> Unit {
        Unit::Bytes
    }

    fn round<'a>(
        &self,
        address: SocketAddr,
        content: &'a Content,
        scale: &'a Scale,
        _: &'a Fixture,
    ) -> Result<Work<'a>> {
        let pushed = content.blob(scale.large_bytes);
        let mut connection = Connection::open(address)?;
        Ok(Box::new(move || {
            blob::push(&mut connection, REPOSITORY, content, &pushed)?;
            Ok(pushed.bytes)
        }))
    }
}

/// A push as Docker does it.
pub(super) struct PushChunked;

impl Workload for PushChunked {
    fn name(&self) -> &'static str {
        "push, chunked PATCH"
    }

    fn unit(&self) -> Unit {
        Unit::Bytes
    }

    fn round<'a>(
        &self,
        address: SocketAddr,
        content: &'a Content,
        scale: &'a Scale,
        _: &'a Fixture,
    ) -> Result<Work<'a>> {
        let pushed = content.blob(scale.large_bytes);
        let mut connection = Connection::open(address)?;
        Ok(Box::new(move || {
            blob::push_chunked(&mut connection, REPOSITORY, content, &pushed)?;
            Ok(pushed.bytes)
        }))
    }
}

/// A pull; before the first round the digest of what comes is checked.
pub(super) struct Pull;

impl Workload for Pull {
    fn name(&self) -> &'static str {
        "pull"
    }

    fn unit(&self) -> Unit {
        Unit::Bytes
    }

    fn fixture(&self, address: SocketAddr, content: &Content, scale: &Scale) -> Result<Fixture> {
        let pushed = content.blob(scale.large_bytes);
        let mut connection = Connection::open(address)?;
        blob::push_chunked(&mut connection, REPOSITORY, content, &pushed)?;
        blob::verify(&mut connection, REPOSITORY, &pushed)?;
        Ok(Fixture {
            blobs: vec![pushed],
        })
    }

    fn round<'a>(
        &self,
        address: SocketAddr,
        _: &'a Content,
        _: &'a Scale,
        fixture: &'a Fixture,
    ) -> Result<Work<'a>> {
        let wanted = &fixture.blobs[0];
        let mut connection = Connection::open(address)?;
        Ok(Box::new(move || {
            blob::pull(&mut connection, REPOSITORY, wanted, &mut |_| {})
        }))
    }
}
