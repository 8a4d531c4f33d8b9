//! The OCI conformance suite, everything switched on, must find nothing to complain about.

use holdfast_tests::Registry;
use holdfast_tests::conformance::{Report, run};

/// Checks that may be skipped, each with its reason: none.
const MAY_BE_SKIPPED: [&str; 0] = [];

/// What the suite leaves out, in one version or another, unless it is asked for.
const EVERYTHING: [(&str, &str); 5] = [
    ("OCI_DATA_SPARSE", "true"),
    ("OCI_API_BLOBS_DIGEST_HEADER", "true"),
    ("OCI_API_BLOBS_UPLOAD_CANCEL", "true"),
    ("OCI_API_MANIFESTS_DIGEST_HEADER", "true"),
    ("OCI_API_MANIFESTS_TAG_PARAM", "true"),
];

/// A sparse index lists manifests that were never pushed, which the default validation refuses.
const SPARSE: &str = "validation:\n  disabled: true\n  manifests:\n    references: optional\n";

#[track_caller]
fn assert_clean(report: &Report) {
    assert!(report.tests > 0, "the suite made no checks");
    assert_eq!(report.failures, 0, "{report}");
    assert_eq!(report.skipped_cases, MAY_BE_SKIPPED, "{report}");
}

#[test]
fn version_1_1() {
    let registry = Registry::builder().section(SPARSE).start();
    assert_clean(&run(&registry, "1.1", &EVERYTHING));
}

#[test]
fn development_version() {
    let registry = Registry::builder().section(SPARSE).start();
    assert_clean(&run(&registry, "dev", &EVERYTHING));
}
