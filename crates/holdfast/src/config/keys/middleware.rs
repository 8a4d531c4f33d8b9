//! Keys of `middleware`.

use super::Kind::{Any, Flag, Section, Text};
use super::{Entry, key};

const NO_MIDDLEWARE: &str = "this registry has no such middleware, and starting without it could open what it was meant to guard";

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("middleware.registry", Section, "", "Middleware around the registry.").refused(NO_MIDDLEWARE),
    key("middleware.registry[].name", Text, "", "Name of the middleware.").refused(NO_MIDDLEWARE),
    key("middleware.registry[].disabled", Flag, "false", "Has no effect in Distribution.").refused(NO_MIDDLEWARE),
    key("middleware.registry[].options.*", Any, "", "An option.").refused(NO_MIDDLEWARE),
    key("middleware.repository", Section, "", "Middleware around each repository.").refused(NO_MIDDLEWARE),
    key("middleware.repository[].name", Text, "", "Name of the middleware.").refused(NO_MIDDLEWARE),
    key("middleware.repository[].disabled", Flag, "false", "Has no effect in Distribution.").refused(NO_MIDDLEWARE),
    key("middleware.repository[].options.*", Any, "", "An option.").refused(NO_MIDDLEWARE),
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
