//! Keys of `middleware`.

use super::Kind::{Any, Flag, Section, Text};
use super::{Entry, key};

const NO_REPOSITORY: &str = "there is none, and starting without it could open what it was meant to guard; which repositories may be used is said by `repository` under middleware.registry";
const DISABLED: &str =
    "an entry takes effect all the same, as in Distribution; take it out to turn it off";

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("middleware.registry[].name", Text, "", "Name of the middleware. The only one is `repository`, which Distribution does not have: only repositories whose names fit may be used, whoever asks; others get 403."),
    key("middleware.registry[].disabled", Flag, "false", "Whether the entry is turned off.").ignored(DISABLED),
    key("middleware.registry[].options.allow[]", Text, "", "A pattern of names that may be used, such as `^approved/`; without any all may."),
    key("middleware.registry[].options.deny[]", Text, "", "A pattern of names that may not, though they fit one of `allow`."),
    key("middleware.repository", Section, "", "Middleware around each repository.").refused(NO_REPOSITORY),
    key("middleware.repository[].name", Text, "", "Name of the middleware.").refused(NO_REPOSITORY),
    key("middleware.repository[].disabled", Flag, "false", "Has no effect in Distribution.").refused(NO_REPOSITORY),
    key("middleware.repository[].options.*", Any, "", "An option.").refused(NO_REPOSITORY),
    key("middleware.storage", Section, "", "Middleware that changes where clients are redirected.").not_yet(),
    key("middleware.storage[].name", Text, "", "`cloudfront`, `redirect` or `rewrite`.").not_yet(),
    key("middleware.storage[].disabled", Flag, "false", "Has no effect in Distribution.").not_yet(),
    key("middleware.storage[].options.baseurl", Text, "", "Base of the URL clients are sent to.").not_yet(),
    key("middleware.storage[].options.privatekey", Text, "", "Private key that signs CloudFront URLs, PEM.").not_yet(),
    key("middleware.storage[].options.keypairid", Text, "", "Id of that key.").not_yet(),
    key("middleware.storage[].options.duration", Any, "", "Time for which a signed URL is good; 20m if unset.").not_yet(),
    key("middleware.storage[].options.ipfilteredby", Text, "", "`none`, `aws` or `awsregion`: addresses that go to S3 directly.").not_yet(),
    key("middleware.storage[].options.awsregion", Any, "", "Regions for `awsregion`, separated by commas.").not_yet(),
    key("middleware.storage[].options.updatefrequency", Any, "", "Time between two reads of the address list; 12h if unset.").not_yet(),
    key("middleware.storage[].options.updatefrenquency", Any, "", "The same, as Distribution once misspelt it.").not_yet(),
    key("middleware.storage[].options.iprangesurl", Text, "", "URL of the address list.").not_yet(),
    key("middleware.storage[].options.scheme", Text, "", "Scheme of the rewritten URL.").not_yet(),
    key("middleware.storage[].options.host", Text, "", "Host of the rewritten URL.").not_yet(),
    key("middleware.storage[].options.trimpathprefix", Text, "", "Prefix removed from the path of the URL.").not_yet(),
];
