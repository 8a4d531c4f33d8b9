//! Addresses of Amazon's, to whom S3 is nearer than CloudFront, and costs nothing.
//!
//! Amazon publishes them by region. They are read at start and again from time to time; what cannot be read
//! leaves the former ones in force. Until the first reading succeeded every client counts as one of Amazon's, as in
//! Distribution: whoever is sent to S3 by mistake still gets what he asked for.
//!
//! Source: "AWS IP address ranges" in the Amazon VPC User Guide; Distribution, middleware/cloudfront/s3filter.go.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::config::AmazonAddresses;
use crate::error_chain::chain;
use crate::outbound;

/// Longest list that is read; today's has two million bytes.
const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest time for reading it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to the next try after one that failed, unless the usual time is shorter.
const RETRY: Duration = Duration::from_secs(60);

/// What the published list says, as far as it matters.
#[derive(Deserialize)]
struct Published {
    prefixes: Vec<Prefix>,
    #[serde(default)]
    ipv6_prefixes: Vec<Prefix>,
}

#[derive(Deserialize)]
struct Prefix {
    #[serde(alias = "ip_prefix", alias = "ipv6_prefix")]
    prefix: String,
    region: String,
}

/// The addresses in force.
#[derive(Default)]
pub(super) struct Addresses {
    /// Sorted and apart from each other; `None` before the first reading.
    ranges: RwLock<Option<Vec<RangeInclusive<u128>>>>,
}

impl Addresses {
    /// Whether the address is one of Amazon's, as far as is known.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        let number = number(address);
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let Some(ranges) = ranges.as_deref() else {
            return true;
        };
        let after = ranges.partition_point(|range| *range.start() <= number);
        after > 0 && ranges[after - 1].contains(&number)
    }

    fn replace(&self, ranges: Vec<RangeInclusive<u128>>) {
        *self.ranges.write().unwrap_or_else(PoisonError::into_inner) = Some(ranges);
    }

    /// Reads the list now and every so often until `stop`.
    pub(super) async fn keep_reading(
        self: Arc<Self>,
        settings: AmazonAddresses,
        stop: CancellationToken,
    ) {
        let AmazonAddresses {
            url,
            regions,
            every,
        } = settings;
        loop {
            let pause = match read(&url, &regions).await {
                Ok(ranges) => {
                    tracing::debug!(url, ranges = ranges.len(), "read Amazon's addresses");
                    self.replace(ranges);
                    every
                }
                Err(error) => {
                    tracing::warn!(url, error, "Amazon's addresses could not be read");
                    every.min(RETRY)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

async fn read(url: &str, regions: &[String]) -> Result<Vec<RangeInclusive<u128>>, String> {
    let mut answer = outbound::client()?
        .get(url)
        .timeout(READ_TIMEOUT)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| chain(&error))?;
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| chain(&error))? {
        if text.len() + piece.len() > LIST_BYTES_MAX {
            return Err(format!("the list has more than {LIST_BYTES_MAX} bytes"));
        }
        text.extend_from_slice(&piece);
    }
    parse(&text, regions)
}

/// The ranges of these regions; of all without any.
fn parse(text: &[u8], regions: &[String]) -> Result<Vec<RangeInclusive<u128>>, String> {
    let published: Published = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let all: Vec<Prefix> = published
        .prefixes
        .into_iter()
        .chain(published.ipv6_prefixes)
        .collect();
    for region in regions {
        if !all
            .iter()
            .any(|prefix| prefix.region.eq_ignore_ascii_case(region))
        {
            tracing::warn!(
                region,
                "Amazon has no addresses in this region: is it spelt right?"
            );
        }
    }
    let wanted = |prefix: &&Prefix| {
        regions.is_empty()
            || regions
                .iter()
                .any(|region| region.eq_ignore_ascii_case(&prefix.region))
    };
    let mut ranges = all
        .iter()
        .filter(wanted)
        .map(|prefix| {
            range(&prefix.prefix).ok_or_else(|| format!("no network: {:?}", prefix.prefix))
        })
        .collect::<Result<Vec<_>, String>>()?;
    ranges.sort_by_key(|range| *range.start());
    Ok(joined(ranges))
}

/// Ranges that overlap become one.
fn joined(sorted: Vec<RangeInclusive<u128>>) -> Vec<RangeInclusive<u128>> {
    let mut ranges: Vec<RangeInclusive<u128>> = Vec::new();
    for range in sorted {
        match ranges.last_mut() {
            Some(last) if range.start() <= last.end() => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => ranges.push(range),
        }
    }
    ranges
}

/// The addresses of a network such as `3.5.140.0/22`.
fn range(network: &str) -> Option<RangeInclusive<u128>> {
    let (address, length) = network.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u32 = length.parse().ok()?;
    let longest: u32 = if address.is_ipv4() { 32 } else { 128 };
    let free = longest.checked_sub(length)?;
    let mask = u128::MAX.checked_shr(128 - free).unwrap_or(0);
    let start = number(address) & !mask;
    Some(start..=(start | mask))
}

/// Addresses of both kinds in one row: those of IPv4 as IPv6 writes them.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{
        "syncToken": "1", "createDate": "2026-01-01-00-00-00",
        "prefixes": [
            {"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", "service": "AMAZON", "network_border_group": "x"},
            {"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", "service": "S3", "network_border_group": "x"},
            {"ip_prefix": "52.94.76.1/32", "region": "us-west-2", "service": "AMAZON", "network_border_group": "x"}
        ],
        "ipv6_prefixes": [
            {"ipv6_prefix": "2600:1f00::/24", "region": "us-west-2", "service": "AMAZON", "network_border_group": "x"}
        ]
    }"#;

    fn reading(regions: &[&str]) -> Addresses {
        let regions: Vec<String> = regions.iter().map(|&region| region.to_owned()).collect();
        let addresses = Addresses::default();
        addresses.replace(parse(LIST.as_bytes(), &regions).unwrap());
        addresses
    }

    #[test]
    fn addresses_are_found_by_region() {
        let cases = [
            ("3.5.140.0", true, false),
            ("3.5.143.255", true, false),
            ("3.5.144.0", false, false),
            ("3.5.139.255", false, false),
            ("52.94.76.1", true, true),
            ("52.94.76.2", false, false),
            ("::ffff:52.94.76.1", true, true),
            ("2600:1f00::1", true, true),
            ("2600:1fff:ffff::", true, true),
            ("2600:2000::", false, false),
            ("0.0.0.0", false, false),
            ("ffff::", false, false),
        ];
        let (all, west) = (reading(&[]), reading(&["US-West-2", "nowhere"]));
        for (address, everywhere, in_the_west) in cases {
            let parsed = address.parse().unwrap();
            assert_eq!(all.contain(parsed), everywhere, "{address}");
            assert_eq!(west.contain(parsed), in_the_west, "{address}");
        }
    }

    #[test]
    fn everybody_counts_before_the_first_reading() {
        assert!(Addresses::default().contain("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn networks_of_any_length() {
        let all: IpAddr = "::".parse().unwrap();
        assert_eq!(range("::/0"), Some(0..=u128::MAX));
        assert_eq!(range("::/128"), Some(number(all)..=number(all)));
        for wrong in ["", "1.2.3.4", "1.2.3.4/33", "::/129", "x/1", "1.2.3.4/-1"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
        let overlapping = vec![1..=9, 2..=3, 9..=12, 20..=21];
        assert_eq!(joined(overlapping), [1..=12, 20..=21]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in [
            "",
            "{}",
            r#"{"prefixes": [{"ip_prefix": "x", "region": "y"}]}"#,
        ] {
            assert!(parse(wrong.as_bytes(), &[]).is_err(), "{wrong}");
        }
    }
}
