//! Content negotiation for manifests.
//!
//! Distribution's rules with one deliberate difference: a missing `Accept` or `*/*` accepts everything,
//! as HTTP says (RFC 9110 section 12.5.1), where Distribution answers 404 for OCI content or converts.
//! Parameters and weights are ignored, types compare exactly.

use crate::MediaType;

/// What a client accepts, from all lines of its `Accept` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    any: bool,
    oci_manifest: bool,
    docker_manifest: bool,
    docker_list: bool,
}

/// How to answer a request for a stored manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiated {
    /// Serve the stored bytes.
    Serve,
    /// The client knows Docker images but not lists: serve the linux/amd64 child of the list.
    ServeDefaultPlatform,
    /// The client cannot read it; the text says so.
    NotAcceptable(&'static str),
}

impl Accept {
    /// Reads the header lines in any order.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Accept {
        let mut accept = Accept::default();
        let mut empty = true;
        for item in lines.into_iter().flat_map(|line| line.split(',')) {
            let essence = item.split(';').next().unwrap_or_default().trim();
            if essence.is_empty() {
                continue;
            }
            empty = false;
            accept.any |= essence == "*/*" || essence == "application/*";
            accept.oci_manifest |= essence == MediaType::OCI_MANIFEST.as_str();
            accept.docker_manifest |= essence == MediaType::DOCKER_MANIFEST.as_str();
            accept.docker_list |= essence == MediaType::DOCKER_LIST.as_str();
        }
        accept.any |= empty;
        accept
    }

    /// Decides what a client gets for a manifest of this type; `by_tag` when it asked by tag.
    pub fn negotiate(&self, stored: &MediaType, by_tag: bool) -> Negotiated {
        if self.any {
            return Negotiated::Serve;
        }
        if *stored == MediaType::OCI_MANIFEST && !self.oci_manifest {
            return Negotiated::NotAcceptable(
                "OCI manifest found, but accept header does not support OCI manifests",
            );
        }
        if *stored == MediaType::DOCKER_LIST && by_tag && !self.docker_list && self.docker_manifest
        {
            return Negotiated::ServeDefaultPlatform;
        }
        Negotiated::Serve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        use Negotiated::*;
        const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";
        const OCI: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json;q=0.5";
        let cases: &[(&[&str], MediaType, bool, Option<Negotiated>)] = &[
            (&[], MediaType::OCI_MANIFEST, true, Some(Serve)),
            (&["*/*"], MediaType::OCI_MANIFEST, true, Some(Serve)),
            (&[""], MediaType::OCI_MANIFEST, true, Some(Serve)),
            (&[OCI], MediaType::OCI_MANIFEST, true, Some(Serve)),
            (&[SCHEMA2], MediaType::OCI_MANIFEST, true, None),
            (&[SCHEMA2], MediaType::OCI_MANIFEST, false, None),
            (&[SCHEMA2], MediaType::OCI_INDEX, true, Some(Serve)),
            (
                &[SCHEMA2],
                MediaType::DOCKER_LIST,
                true,
                Some(ServeDefaultPlatform),
            ),
            (&[SCHEMA2], MediaType::DOCKER_LIST, false, Some(Serve)),
            (
                &["text/html", SCHEMA2, "*/*"],
                MediaType::DOCKER_LIST,
                true,
                Some(Serve),
            ),
            (&[OCI], MediaType::DOCKER_MANIFEST, true, Some(Serve)),
        ];
        for (lines, stored, by_tag, wanted) in cases {
            let got = Accept::parse(lines.iter().copied()).negotiate(stored, *by_tag);
            match wanted {
                Some(wanted) => assert_eq!(got, *wanted, "{lines:?} {stored}"),
                None => assert!(matches!(got, NotAcceptable(_)), "{lines:?} {stored}"),
            }
        }
    }
}
