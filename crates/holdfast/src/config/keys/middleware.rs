//! Keys of `middleware`.

use super::Kind::{Any, Choice, Duration, Flag, Path, Section, Text};
use super::{Entry, key};

const NO_REPOSITORY: &str = "there is none, and starting without it could open what it was meant to guard; which repositories may be used is said by `repository` under middleware.registry";
const DISABLED: &str =
    "an entry takes effect all the same, as in Distribution; take it out to turn it off";

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("middleware.registry[].name", Text, "", "Name of the middleware. The only one is `repository`, which Distribution does not have (and `cloudfront`, `redirect` and `rewrite`, which move to `middleware.storage`): only repositories whose names fit may be used, whoever asks; others get 403."),
    key("middleware.registry[].disabled", Flag, "false", "Whether the entry is turned off.").ignored(DISABLED),
    key("middleware.registry[].options.allow[]", Text, "", "A pattern of names that may be used, such as `^approved/`; without any all may."),
    key("middleware.registry[].options.deny[]", Text, "", "A pattern of names that may not, though they fit one of `allow`."),
    key("middleware.repository", Section, "", "Middleware around each repository.").refused(NO_REPOSITORY),
    key("middleware.repository[].name", Text, "", "Name of the middleware.").refused(NO_REPOSITORY),
    key("middleware.repository[].disabled", Flag, "false", "Has no effect in Distribution.").refused(NO_REPOSITORY),
    key("middleware.repository[].options.*", Any, "", "An option.").refused(NO_REPOSITORY),
    key("middleware.storage[].name", Text, "", "What changes where clients are sent for blobs: `cloudfront`, `redirect` or `rewrite`. Each entry wraps those before it. With `storage.redirect.disable` nothing is sent anywhere."),
    key("middleware.storage[].disabled", Flag, "false", "Whether the entry is turned off.").ignored(DISABLED),
    key("middleware.storage[].options.baseurl", Text, "", "`cloudfront`, `redirect`: what the key of the object is put behind; `https://` if no scheme is given to `cloudfront`."),
    key("middleware.storage[].options.privatekey", Path, "", "`cloudfront`: the RSA key that signs URLs, PEM."),
    key("middleware.storage[].options.keypairid", Text, "", "`cloudfront`: the id of that key."),
    key("middleware.storage[].options.duration", Duration, "20m", "`cloudfront`: time for which a signed URL is good."),
    key("middleware.storage[].options.ipfilteredby", Choice(&["none", "aws", "awsregion"]), "none", "`cloudfront`: clients that are sent to S3 itself: none, all of Amazon's, those of some regions."),
    key("middleware.storage[].options.awsregion", Text, "", "`cloudfront`: those regions, separated by commas."),
    key("middleware.storage[].options.updatefrequency", Duration, "12h", "`cloudfront`: time between two reads of Amazon's addresses."),
    key("middleware.storage[].options.updatefrenquency", Duration, "", "`cloudfront`: the same, as Distribution 2.8 spells it."),
    key("middleware.storage[].options.iprangesurl", Text, "https://ip-ranges.amazonaws.com/ip-ranges.json", "`cloudfront`: where these addresses are read."),
    key("middleware.storage[].options.scheme", Text, "", "`rewrite`: the scheme of URLs that clients are sent to."),
    key("middleware.storage[].options.host", Text, "", "`rewrite`: their host, with a port if there is one."),
    key("middleware.storage[].options.trimpathprefix", Text, "", "`rewrite`: what is taken from the front of their path."),
];
