//! Request bodies: frame by frame, with patience for slow clients and none for silent ones.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::operations::{ByteStream, Error, Result};

/// The body as a stream of its data frames. A frame that keeps the server waiting for `patience` ends it.
pub(super) fn stream(incoming: Incoming, patience: Duration) -> ByteStream {
    futures_util::stream::unfold(Some(incoming), move |incoming| async move {
        let mut incoming = incoming?;
        loop {
            let frame = match tokio::time::timeout(patience, incoming.frame()).await {
                Err(_) => {
                    return Some((
                        Err(Error::BodyStalled {
                            seconds: patience.as_secs(),
                        }),
                        None,
                    ));
                }
                Ok(None) => return None,
                Ok(Some(Err(error))) => {
                    return Some((Err(Error::ClientGone(error.to_string())), None));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Some((Ok(data), Some(incoming)));
            }
        }
    })
    .boxed()
}

/// Longest time for the body of a manifest, however steadily it trickles.
const MANIFEST_BODY_TIMEOUT: Duration = Duration::from_secs(300);

/// The whole body, or [`Error::ManifestTooLarge`] as soon as it is known to be over the limit.
pub(super) async fn collect(incoming: Incoming, limit: u64, patience: Duration) -> Result<Bytes> {
    let too_large = || Error::ManifestTooLarge { limit };
    if hyper::body::Body::size_hint(&incoming).lower() > limit {
        return Err(too_large());
    }
    let mut body = stream(incoming, patience);
    let reading = async {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.next().await {
            let frame = frame?;
            if (whole.len() + frame.len()) as u64 > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&frame);
        }
        Ok(whole.freeze())
    };
    let stalled = Error::BodyStalled {
        seconds: MANIFEST_BODY_TIMEOUT.as_secs(),
    };
    tokio::time::timeout(MANIFEST_BODY_TIMEOUT, reading)
        .await
        .unwrap_or(Err(stalled))
}
