//! The section `storage.swift`.

use holdfast_storage::cloud::{
    AuthVersion, Common, EndpointType, SwiftIdentity, SwiftSettings, TemporaryUrlSettings,
};

use super::buckets::common;
use super::reader::Section;

/// Keys that only some versions of the identity service know.
const CATALOG: [&str; 4] = ["tenant", "tenantid", "region", "endpointtype"];
const DOMAINS: [&str; 5] = [
    "domain",
    "domainid",
    "tenantdomain",
    "tenantdomainid",
    "trustid",
];

pub(super) fn swift(swift: &Section<'_>, redirect: bool) -> SwiftSettings {
    let auth_url = swift.required_text("authurl");
    let version = version(swift, &auth_url);
    let useless: Vec<&str> = match version {
        AuthVersion::V1 => CATALOG.into_iter().chain(DOMAINS).collect(),
        AuthVersion::V2 => DOMAINS.to_vec(),
        AuthVersion::V3 => Vec::new(),
    };
    for name in &useless {
        if swift.has(name) {
            swift.warn(
                name,
                "has no effect with this version of the identity service",
            );
        }
    }
    let text = |name: &str| swift.text(name).filter(|_| !useless.contains(&name));
    let kind = swift.choice("endpointtype", |found| {
        format!("expected public, internal or admin, found {found}")
    });
    let endpoint_type = match kind {
        _ if version == AuthVersion::V1 => EndpointType::Public,
        "internal" => EndpointType::Internal,
        "admin" => EndpointType::Admin,
        _ => EndpointType::Public,
    };
    let container = swift.required_text("container");
    if container.contains('/') {
        swift.refuse("container", "expected a name without slashes");
    }
    let settings = common(swift, "prefix", redirect);
    if settings.root_directory.ends_with('/') {
        let text =
            "ends with a slash, which Distribution writes twice then; such names are not read here";
        swift.refuse("prefix", text);
    }
    let methods = swift.list("tempurlmethods");
    SwiftSettings {
        identity: SwiftIdentity {
            auth_url,
            version,
            username: swift.required_text("username"),
            password: swift.required_text("password"),
            tenant: text("tenant"),
            tenant_id: text("tenantid"),
            domain: text("domain"),
            domain_id: text("domainid"),
            tenant_domain: text("tenantdomain"),
            tenant_domain_id: text("tenantdomainid"),
            trust_id: text("trustid"),
            region: text("region"),
            endpoint_type,
        },
        container,
        temporary_urls: TemporaryUrlSettings {
            key: swift.text("secretkey"),
            of_container: swift.flag("tempurlcontainerkey"),
            allowed: methods.iter().any(|(_, method)| *method == "GET"),
        },
        common: Common {
            part_bytes: swift.count("chunksize"),
            skip_verify: swift.flag("insecureskipverify"),
            ..settings
        },
    }
}

/// The version that is written, or else the one that the URL names.
fn version(swift: &Section<'_>, auth_url: &str) -> AuthVersion {
    let named = ["", "v1", "v2", "v3"];
    let of_url = || {
        (1..=3)
            .rev()
            .find(|number| auth_url.contains(named[*number]))
    };
    match swift.count("authversion") {
        0 => of_url(),
        number => Some(number),
    }
    .map_or_else(
        || {
            let text = "cannot be told from authurl; write 1, 2 or 3";
            swift.refuse("authversion", text);
            AuthVersion::V3
        },
        |number| match number {
            1 => AuthVersion::V1,
            2 => AuthVersion::V2,
            _ => AuthVersion::V3,
        },
    )
}
