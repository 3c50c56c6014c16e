//! The indicator lists as a part of what every paired sensor has in force.
//!
//! In: the files of `detect.indicators`, looked at as the directory of rules is. Out: generated files for the bundle.
//! A line that cannot be used is left out; a list that cannot be read leaves what the lists gave before, so that one
//! feed that is missing neither takes indicators away nor holds up rules. Deliberately absent: what the rules look like
//! ([`crate::detect::signature::indicator_rules`]).

use super::rules::{Look, RulesError, looks_like};
use crate::detect::config::DetectConfig;
use crate::detect::load::read_indicators;
use crate::detect::signature::indicator_rules::IndicatorRules;
use std::fs::{self, File};
use std::io;

/// The lists, looked at again and again.
pub(super) struct Lists {
    files: Vec<String>,
    limit: usize,
    /// What was made of them, and what they looked like then.
    read: Option<(Look, IndicatorRules)>,
}

impl Lists {
    pub(super) fn new(config: &DetectConfig) -> Lists {
        Lists { files: config.indicators.clone(), limit: config.indicators_max as usize, read: None }
    }

    /// What the lists look like; what they did when they were read, where one cannot be looked at, and why it cannot.
    pub(super) fn look(&self) -> Result<(Look, Option<RulesError>), RulesError> {
        let looked: Result<Look, RulesError> = self
            .files
            .iter()
            .map(|file| {
                // Opened, because one that may not be read is as good as missing; but no pipe, which would wait.
                let metadata = fs::metadata(file).and_then(|metadata| match metadata.is_file() {
                    true => File::open(file)?.metadata(),
                    false => Err(io::Error::other("is not a file")),
                });
                let metadata = metadata.map_err(|source| RulesError::List { path: file.clone(), source })?;
                Ok(looks_like(file.clone(), &metadata))
            })
            .collect();
        match (looked, &self.read) {
            (Ok(look), _) => Ok((look, None)),
            (Err(error), Some((look, _))) => Ok((look.clone(), Some(error))),
            (Err(error), None) => Err(error),
        }
    }

    /// What is made of the lists as they look now. They are read only when they look different from before.
    pub(super) fn rules(&mut self, look: &Look) -> Result<&IndicatorRules, RulesError> {
        let made = match self.read.take_if(|(read, _)| read == look) {
            Some(read) => read,
            None => (look.clone(), self.made()?),
        };
        Ok(&self.read.insert(made).1)
    }

    fn made(&self) -> Result<IndicatorRules, RulesError> {
        let read = read_indicators(&self.files, self.limit);
        let (indicators, problems) = read.map_err(|problem| RulesError::Lists(problem.to_string()))?;
        if let Some(first) = problems.first() {
            tracing::warn!(
                "indicators for the sensors: not all lines can be used (`weir-collector intel check` names them), the \
                 first: {first}"
            );
        }
        Ok(IndicatorRules::new(&indicators))
    }
}
