//! Keys of `validation` and `policy`.

use super::Kind::{Choice, Flag, Section, Text};
use super::{Entry, key};

const NO_CLASSES: &str = "classes of repositories are not part of this release, and starting without them would accept what the policy forbids";

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("validation.enabled", Flag, "", "Older spelling of the opposite of `disabled`; true wins over it."),
    key("validation.disabled", Flag, "false", "Skips the checks below."),
    key("validation.manifests.urls.allow[]", Text, "", "A pattern of layer URLs that manifests may contain. With neither list every URL is refused."),
    key("validation.manifests.urls.deny[]", Text, "", "A pattern of layer URLs that manifests must not contain."),
    key("validation.manifests.indexes.platforms", Choice(&["all", "none", "list"]), "all", "Which manifests of an index must exist when it is pushed."),
    key("validation.manifests.indexes.platformlist[].architecture", Text, "", "Architecture of a platform that must exist."),
    key("validation.manifests.indexes.platformlist[].os", Text, "", "Operating system of that platform."),
    key("validation.manifests.references", Choice(&["required", "optional"]), "required", "Whether the config and layers of a manifest must exist when it is pushed."),
    key("policy.repository.classes", Section, "", "Classes of manifests that may be pushed.").refused(NO_CLASSES),
    key("policy.repository.classes[]", Text, "", "An allowed class: `image` or `plugin`.").refused(NO_CLASSES),
];
