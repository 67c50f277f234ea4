//! Which features devices offer, by name.

use clap::Args;
use stickler_conformance::features::{FeatureLimits, NamedFeature};

use super::failure::Failure;

/// Options of `stickler run`, `stickler serve` and `stickler check`: which features devices offer.
#[derive(Debug, Args)]
#[command(next_help_heading = "Devices")]
pub struct FeatureOptions {
    /// Features that no device offers: net.mrg-rxbuf,ring.event-idx
    ///
    /// What requires them is not offered, either. May be given several times. The names are those that reports
    /// have for features.
    #[arg(long, value_name = "FEATURE,…", value_delimiter = ',')]
    pub without: Vec<NamedFeature>,

    /// The only features that devices offer, of those with the same first part of their names
    ///
    /// With `net.mac,net.status`, network cards offer these two of their features, and other devices what they
    /// offer always. `ring.…` are features of all device types. May be given several times.
    #[arg(long, value_name = "FEATURE,…", value_delimiter = ',')]
    pub offer: Vec<NamedFeature>,
}

impl FeatureOptions {
    /// Which features devices may offer.
    ///
    /// # Errors
    /// The options contradict each other.
    pub fn limits(&self) -> Result<FeatureLimits, Failure> {
        FeatureLimits::new(&self.without, &self.offer).map_err(Failure::Input)
    }

    /// The options as they are passed on.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        let spelled = |option: &str, features: &[NamedFeature]| -> Vec<String> {
            let words = features.iter().map(|feature| format!("{option}={feature}"));
            words.collect()
        };
        let without = spelled("--without", &self.without);
        without.into_iter().chain(spelled("--offer", &self.offer))
    }
}
