//! Fuzz targets for everything that reads what strangers send.
//!
//! Each target is a plain function over bytes that panics when a promise is broken. cargo-fuzz drives them
//! with coverage (`cd fuzz && cargo +nightly fuzz run route`); the ordinary tests run the same functions over
//! `corpus/` and over mutations of it, on stable and without the fuzzer. Without the fuzzer the programs
//! replay files: `cargo run -p holdfast-fuzz --bin route -- <file>…`.
//!
//! An input that once broke something belongs into `corpus/<target>/` under a name that says what it is.
//! What the fuzzer itself adds there is named by a hash and ignored by git.

#[cfg(test)]
mod corpus;

use std::collections::HashSet;
use std::process::ExitCode;

use holdfast::access::parse_htpasswd;
use holdfast::config;
use holdfast::http::action::Action;
use holdfast::http::router::{self, RouteError};
use holdfast_model::byte_range::{self, ContentRange, MAX_RANGES, Requested};
use holdfast_model::manifest::{MAX_DESCRIPTORS, MAX_TYPE_BYTES};
use holdfast_model::repository_name::MAX_NAME_BYTES;
use holdfast_model::tag::MAX_TAG_BYTES;
use holdfast_model::{
    Algorithm, Digest, Hasher, Manifest, MediaType, Reference, RepositoryName, Tag, UploadId,
};
use hyper::Method;

/// A body: panics when the bytes break a promise.
pub type Target = fn(&[u8]);

/// All targets by name. Each has a program in `targets/` and seeds in `corpus/`.
pub const TARGETS: [(&str, Target); 7] = [
    ("reference", reference),
    ("digest", digest),
    ("manifest", manifest),
    ("range", range),
    ("route", route),
    ("config", config),
    ("htpasswd", htpasswd),
];

/// Names that become parts of paths: they parse from one spelling only and lead nowhere else.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(name) = text.parse::<RepositoryName>() {
        assert_eq!(name.to_string(), text);
        assert!(text.len() <= MAX_NAME_BYTES);
        assert_stays_inside(text);
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert_eq!(tag.to_string(), text);
        assert!(text.len() <= MAX_TAG_BYTES && !text.contains('/'));
        assert_stays_inside(text);
    }
    if let Ok(id) = text.parse::<UploadId>() {
        assert_eq!(id.to_string(), text);
    }
    match text.parse::<Reference>() {
        Ok(reference) => {
            assert_eq!(reference.to_string(), text);
            let by_digest = matches!(reference, Reference::Digest(_));
            assert_eq!(by_digest, text.parse::<Digest>().is_ok());
            assert_eq!(!by_digest, text.parse::<Tag>().is_ok());
        }
        Err(_) => assert!(text.parse::<Tag>().is_err() && text.parse::<Digest>().is_err()),
    }
}

/// Digests as text and as bytes, and saved hash states.
pub fn digest(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(digest) = text.parse::<Digest>()
    {
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.hash().len(), digest.algorithm().hash_bytes());
        assert_eq!(Digest::from_bytes(&digest.to_bytes()), Ok(digest));
    }
    if let Ok(digest) = Digest::from_bytes(data) {
        assert_eq!(digest.to_bytes(), data);
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    // Not finished: a state comes from the database, and sha2 does not check its count of blocks.
    if let Ok(hasher) = Hasher::restore(data) {
        assert_eq!(hasher.save(), data);
    }
    let (before, after) = data.split_at(data.len() / 2);
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(before);
        let mut resumed = Hasher::restore(&hasher.save()).expect("a state that was just saved");
        resumed.update(after);
        assert_eq!(resumed.finish(), Hasher::digest(algorithm, data));
    }
}

/// Manifests of all four types.
pub fn manifest(data: &[u8]) {
    let types = [
        (MediaType::OCI_MANIFEST, false),
        (MediaType::OCI_INDEX, true),
        (MediaType::DOCKER_MANIFEST, false),
        (MediaType::DOCKER_LIST, true),
    ];
    for (media_type, is_index) in types {
        let Ok(manifest) = Manifest::parse(&media_type, data) else {
            continue;
        };
        assert_eq!(manifest.media_type, media_type);
        assert!(manifest.layers.len() + manifest.children.len() <= MAX_DESCRIPTORS);
        assert_eq!(manifest.config.is_none(), is_index);
        assert!(if is_index {
            manifest.layers.is_empty()
        } else {
            manifest.children.is_empty()
        });
        let descriptors = manifest
            .blobs()
            .chain(&manifest.children)
            .chain(&manifest.subject);
        for descriptor in descriptors {
            assert!(descriptor.media_type.len() <= MAX_TYPE_BYTES);
            assert!(!descriptor.media_type.contains(char::is_control));
        }
        if let Some(artifact_type) = &manifest.artifact_type {
            assert!(!artifact_type.is_empty() && artifact_type.len() <= MAX_TYPE_BYTES);
        }
    }
}

/// `Range` against a size, and `Content-Range`. The first eight bytes are the size, little end first.
pub fn range(data: &[u8]) {
    let Some((size, header)) = data.split_first_chunk::<8>() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    let Ok(header) = std::str::from_utf8(header) else {
        return;
    };
    if let Requested::Parts(parts) = byte_range::requested(header, size) {
        assert!(!parts.is_empty() && parts.len() <= MAX_RANGES);
        assert!(
            parts
                .iter()
                .all(|part| part.start < part.end && part.end <= size)
        );
        let total: u128 = parts
            .iter()
            .map(|part| u128::from(part.end - part.start))
            .sum();
        assert!(
            total <= u128::from(size),
            "the parts are larger than the whole"
        );
    }
    if let Ok(range) = ContentRange::parse(header) {
        assert!(range.first <= range.last && range.length() > 0);
        let spelled = format!("{}-{}", range.first, range.last);
        assert_eq!(ContentRange::parse(&spelled), Ok(range));
    }
}

/// A path and, after the first `?`, a query, with every method.
pub fn route(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    for method in methods {
        match router::parse(&method, path, query) {
            Ok(action) => {
                assert!(
                    router::methods(path).is_some(),
                    "an action on a path without methods"
                );
                for name in names(&action) {
                    assert_stays_inside(&name);
                }
                assert_eq!(
                    router::parse(&method, &canonical(&action), query),
                    Ok(action)
                );
            }
            // One that began with two slashes would lead to another host.
            Err(RouteError::Redirect(to)) => assert!(to.starts_with("/v2") && !to.contains("//")),
            Err(_) => {}
        }
    }
}

/// A configuration file and, after the first NUL, variables `NAME=value` with NULs between them. Without a
/// file it is the embedded one.
pub fn config(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let environment = parts.filter_map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let source = match text {
        [] => config::Source::Default,
        text => config::Source::File {
            path: "config.yml",
            text,
        },
    };
    match config::load(source, environment) {
        Ok(loaded) => {
            let shown = config::show(&loaded);
            assert!(!shown.is_empty());
            for warning in &loaded.warnings {
                assert!(!warning.to_string().is_empty());
            }
        }
        Err(error) => assert!(!error.problems.is_empty() && !error.to_string().is_empty()),
    }
}

/// The users of a password file: bcrypt only, every other line is named.
pub fn htpasswd(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (users, refused) = parse_htpasswd(&text);
    let lines = text.lines().count();
    assert!(users.len() + refused.len() <= lines);
    for (name, hash) in &users {
        assert!(!name.is_empty() && !name.contains([':', '\n']));
        assert!(hash.starts_with("$2"));
    }
    let numbers: HashSet<usize> = refused.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers.len(), refused.len(), "a line is refused twice");
    assert!(numbers.iter().all(|number| (1..=lines).contains(number)));
}

/// The parts of an action that become parts of paths or keys.
fn names(action: &Action) -> Vec<String> {
    use Action::*;
    let mut names: Vec<String> = action
        .repository()
        .iter()
        .map(ToString::to_string)
        .collect();
    match action {
        Base | Catalog(_) | ListTags(..) | StartUpload(..) => {}
        PullManifest(_, reference) | DeleteManifest(_, reference) => {
            names.push(reference.to_string())
        }
        PushManifest {
            reference, tags, ..
        } => {
            names.push(reference.to_string());
            names.extend(tags.iter().map(ToString::to_string));
        }
        ListReferrers {
            subject: digest, ..
        }
        | PullBlob(_, digest)
        | DeleteBlob(_, digest)
        | PushBlob(_, digest) => names.push(digest.to_string()),
        MountBlob { digest, from, .. } => {
            names.push(digest.to_string());
            names.extend(from.iter().map(ToString::to_string));
        }
        UploadStatus(_, id) => names.push(id.to_string()),
        AppendChunk(_, session) | CancelUpload(_, session) => names.push(session.id.to_string()),
        FinishUpload(_, session, digest) => {
            names.extend([session.id.to_string(), digest.to_string()]);
        }
    }
    names
}

/// The one path that stands for an action, made from its typed parts.
fn canonical(action: &Action) -> String {
    use Action::*;
    match action {
        Base => "/v2/".to_owned(),
        Catalog(_) => "/v2/_catalog".to_owned(),
        ListTags(name, _) => format!("/v2/{name}/tags/list"),
        ListReferrers {
            repository: name,
            subject,
            ..
        } => format!("/v2/{name}/referrers/{subject}"),
        PullManifest(name, reference)
        | DeleteManifest(name, reference)
        | PushManifest {
            repository: name,
            reference,
            ..
        } => format!("/v2/{name}/manifests/{reference}"),
        PullBlob(name, digest) | DeleteBlob(name, digest) => format!("/v2/{name}/blobs/{digest}"),
        StartUpload(name, _)
        | PushBlob(name, _)
        | MountBlob {
            repository: name, ..
        } => {
            format!("/v2/{name}/blobs/uploads/")
        }
        UploadStatus(name, id) => format!("/v2/{name}/blobs/uploads/{id}"),
        AppendChunk(name, session)
        | CancelUpload(name, session)
        | FinishUpload(name, session, _) => format!("/v2/{name}/blobs/uploads/{}", session.id),
    }
}

/// Joined to a directory, the text names something inside it.
fn assert_stays_inside(text: &str) {
    assert!(!text.contains(['\0', '\\', '\n', '\r']), "{text:?}");
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    assert!(text.split('/').all(plain), "{text:?}");
}

/// Runs a body over the files that the arguments name.
pub fn replay(target: Target) -> ExitCode {
    for path in std::env::args_os().skip(1) {
        match std::fs::read(&path) {
            Ok(data) => target(&data),
            Err(error) => {
                eprintln!("{} cannot be read: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The program of a target: the fuzzer under cargo-fuzz, else [`replay`].
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$name(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::replay($crate::$name)
        }
    };
}
