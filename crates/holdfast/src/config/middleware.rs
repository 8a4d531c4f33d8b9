//! The `middleware` section.
//!
//! Distribution has no middleware of the registry or of repositories and does not start when one is named. What
//! examples on the web put there works here: a list of repositories that may be used, and what belongs under
//! `middleware.storage` and was put in the wrong place (see `aliases`).

use std::path::PathBuf;
use std::time::Duration;

use regex::RegexSet;
use url::Url;

use super::document::{Node, quoted};
use super::reader::Section;
use super::storage::Driver;
use super::validation::patterns;

/// What stands between requests and content.
#[derive(Clone, Debug, Default)]
pub struct Middleware {
    /// Which repositories may be used; all entries must agree.
    pub repositories: Vec<RepositoryNames>,
    /// Where clients are sent for bytes; each wraps those before it.
    pub storage: Vec<StorageMiddleware>,
}

/// Middleware of storage.
#[derive(Clone, Debug)]
pub enum StorageMiddleware {
    /// To CloudFront, by signed URLs.
    CloudFront(CloudFront),
    /// To the object's key below a URL.
    Redirect {
        /// That URL.
        base_url: String,
    },
    /// Where the storage sends them, with other parts of the URL.
    Rewrite(Rewrite),
}

/// How clients are sent to CloudFront.
#[derive(Clone, Debug)]
pub struct CloudFront {
    /// What keys are put behind.
    pub base_url: String,
    /// The key that signs, PEM.
    pub private_key: PathBuf,
    /// The id of that key.
    pub key_pair_id: String,
    /// How long a URL is good.
    pub life: Duration,
    /// Clients that are sent to S3 itself.
    pub amazon: Option<AmazonAddresses>,
}

/// Addresses of Amazon's.
#[derive(Clone, Debug)]
pub struct AmazonAddresses {
    /// Where they are read.
    pub url: String,
    /// Those of these regions; of all without any.
    pub regions: Vec<String>,
    /// Time between two reads.
    pub every: Duration,
}

/// Parts of a URL that are replaced.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The scheme.
    pub scheme: Option<String>,
    /// The host, and a port if there is one.
    pub host: Option<String>,
    /// Taken from the front of the path.
    pub trim_path_prefix: String,
}

/// A list of repositories that may be used.
#[derive(Clone, Debug)]
pub struct RepositoryNames {
    allow: RegexSet,
    deny: RegexSet,
}

impl RepositoryNames {
    /// Whether a repository of this name may be used: some pattern allows it, or there are none, and none denies it.
    pub fn permit(&self, name: &str) -> bool {
        (self.allow.is_empty() || self.allow.is_match(name)) && !self.deny.is_match(name)
    }

    fn read(entry: &Section<'_>) -> Self {
        let options = entry.section("options");
        let names = Self {
            allow: patterns(&options, "allow"),
            deny: patterns(&options, "deny"),
        };
        // Left empty by mistake, the list would permit everything.
        let empty = |name| {
            let written = options.get(name).and_then(Node::as_list);
            written.is_none_or(<[Node]>::is_empty)
        };
        if empty("allow") && empty("deny") {
            entry.refuse("options", "needs a pattern under allow or deny");
        }
        names
    }
}

impl Middleware {
    pub(super) fn read(middleware: &Section<'_>, driver: &Driver, redirects: bool) -> Self {
        let mut repositories = Vec::new();
        for entry in middleware.items("registry") {
            match entry.required_text("name").as_str() {
                "repository" => repositories.push(RepositoryNames::read(&entry)),
                name => refuse(&entry, "registry", name, "repository"),
            }
        }
        let mut storage = Vec::new();
        for entry in middleware.items("storage") {
            let options = entry.section("options");
            match entry.required_text("name").as_str() {
                "cloudfront" => storage.extend(CloudFront::read(&options, driver)),
                "redirect" => storage.push(redirect(&options)),
                "rewrite" => storage.push(StorageMiddleware::Rewrite(Rewrite::read(&options))),
                name => refuse(&entry, "storage", name, "cloudfront, redirect and rewrite"),
            }
            if !redirects {
                entry.warn("name", "has no effect with storage.redirect.disable");
            }
        }
        if !redirects {
            storage.clear();
        }
        Self {
            repositories,
            storage,
        }
    }
}

fn refuse(entry: &Section<'_>, kind: &str, name: &str, known: &str) {
    let name = quoted(name);
    let text = format!(
        "there is no {kind} middleware {name}, and starting without it could open what it was meant to guard; there \
         is {known}"
    );
    entry.refuse("name", text);
}

/// A base URL with scheme and host.
fn base_url(options: &Section<'_>, scheme: &str) -> String {
    let written = options.required_text("baseurl");
    let whole = if written.contains("://") {
        written
    } else {
        format!("{scheme}{written}")
    };
    match Url::parse(&whole) {
        // Other letters would make no header.
        Ok(url) if url.has_host() && whole.is_ascii() => {}
        _ if whole == scheme => {}
        _ => options.refuse(
            "baseurl",
            "must be a URL with a scheme and a host, in ASCII letters",
        ),
    }
    whole
}

fn redirect(options: &Section<'_>) -> StorageMiddleware {
    StorageMiddleware::Redirect {
        base_url: base_url(options, ""),
    }
}

impl CloudFront {
    /// Distribution takes it with S3 only, and goes on without it elsewhere.
    fn read(options: &Section<'_>, driver: &Driver) -> Option<StorageMiddleware> {
        let cloudfront = CloudFront {
            base_url: base_url(options, "https://"),
            private_key: options.required_path("privatekey"),
            key_pair_id: options.required_text("keypairid"),
            life: options.positive_duration("duration"),
            amazon: AmazonAddresses::read(options),
        };
        if driver.is_s3() {
            return Some(StorageMiddleware::CloudFront(cloudfront));
        }
        options.warn(
            "baseurl",
            "has no effect: CloudFront stands before a bucket of S3",
        );
        None
    }
}

impl AmazonAddresses {
    fn read(options: &Section<'_>) -> Option<Self> {
        let filter = options.choice("ipfilteredby", |found| {
            format!("expected none, aws or awsregion, found {found:?}")
        });
        let misspelt = options.duration("updatefrenquency");
        let every = match misspelt {
            Some(every) if !every.is_zero() && !options.has("updatefrequency") => every,
            _ => options.positive_duration("updatefrequency"),
        };
        let regions: Vec<String> = options
            .text("awsregion")
            .unwrap_or_default()
            .split(',')
            .map(|region| region.trim().to_owned())
            .filter(|region| !region.is_empty())
            .collect();
        let by_region = filter == "awsregion";
        if by_region && regions.is_empty() {
            options.refuse("awsregion", "is required with ipfilteredby: awsregion");
        }
        let url = options.required_text("iprangesurl");
        (filter != "none").then_some(Self {
            url,
            regions: if by_region { regions } else { Vec::new() },
            every,
        })
    }
}

impl Rewrite {
    fn read(options: &Section<'_>) -> Self {
        Self {
            scheme: options.text("scheme"),
            host: options.text("host"),
            trim_path_prefix: options.text("trimpathprefix").unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_allow_and_deny() {
        let set = |patterns: &[&str]| RegexSet::new(patterns).unwrap();
        let cases: [(&[&str], &[&str], &str, bool); 6] = [
            (&["^approved/"], &[], "approved/app", true),
            (&["^approved/"], &[], "evil/approved/app", false),
            (&["^approved/", "^base$"], &[], "base", true),
            (&["^approved/"], &["secret"], "approved/secret", false),
            (&[], &["^evil/"], "good/app", true),
            (&[], &["^evil/"], "evil/app", false),
        ];
        for (allow, deny, name, permitted) in cases {
            let names = RepositoryNames {
                allow: set(allow),
                deny: set(deny),
            };
            assert_eq!(names.permit(name), permitted, "{allow:?} {deny:?} {name}");
        }
    }
}
