//! Many small blobs on several connections.

use std::net::SocketAddr;

use super::{Fixture, SMALL_BYTES, Scale, Workload, blob};
use crate::Result;
use crate::connection::Connection;
use crate::content::{Blob, Content};
use crate::measure::{Unit, Work};
use crate::parallel;

const REPOSITORY: &str = "bench/small";
/// Blobs that are pulled in turn.
const PULLED_BLOBS: usize = 64;

/// Pushes, each a `POST` and a `PUT`.
pub(super) struct Push;

impl Workload for Push {
    fn name(&self) -> &'static str {
        "push 64 KiB, 8 clients"
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn round<'a>(
        &self,
        address: SocketAddr,
        content: &'a Content,
        scale: &'a Scale,
        _: &'a Fixture,
    ) -> Result<Work<'a>> {
        let blobs: Vec<Blob> = (0..scale.small_blobs)
            .map(|_| content.blob(SMALL_BYTES))
            .collect();
        let connections = parallel::connect(address)?;
        Ok(Box::new(move || {
            parallel::run(
                connections,
                blobs.len(),
                scale.small_time,
                |connection, index| blob::push(connection, REPOSITORY, content, &blobs[index]),
            )
        }))
    }
}

/// Pulls of a few blobs over and over.
pub(super) struct Pull;

impl Workload for Pull {
    fn name(&self) -> &'static str {
        "pull 64 KiB, 8 clients"
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn fixture(&self, address: SocketAddr, content: &Content, _: &Scale) -> Result<Fixture> {
        let blobs: Vec<Blob> = (0..PULLED_BLOBS)
            .map(|_| content.blob(SMALL_BYTES))
            .collect();
        let mut connection = Connection::open(address)?;
        for pushed in &blobs {
            blob::push(&mut connection, REPOSITORY, content, pushed)?;
            blob::verify(&mut connection, REPOSITORY, pushed)?;
        }
        Ok(Fixture { blobs })
    }

    fn round<'a>(
        &self,
        address: SocketAddr,
        _: &'a Content,
        scale: &'a Scale,
        fixture: &'a Fixture,
    ) -> Result<Work<'a>> {
        let connections = parallel::connect(address)?;
        Ok(Box::new(move || {
            parallel::run(
                connections,
                scale.requests,
                scale.small_time,
                |connection, index| {
                    let wanted = &fixture.blobs[index % fixture.blobs.len()];
                    blob::pull(connection, REPOSITORY, wanted, &mut |_| {})?;
                    Ok(())
                },
            )
        }))
    }
}
