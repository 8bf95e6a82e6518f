//! The incidents as a file, kept beside the states of the servers.

use std::collections::BTreeMap;
use std::path::Path;

use oddns_core::{Cause, Incident, Movement, Severity, Timestamp};
use oddns_detect::{CAUSES, diagnose};
use serde::{Deserialize, Serialize};

use super::book::MAX_GROUPS;
use super::group::{Face, IncidentGroup};
use super::{Told, ToldOf};

/// Of this format.
const VERSION: u32 = 1;
/// Most bytes of the file; with all groups full it has some MiB.
const MAX_BYTES: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct KeptBook {
    version: u32,
    groups: Vec<KeptGroup>,
    /// What every webhook was told, by its name and the group's id.
    told: BTreeMap<String, BTreeMap<String, KeptTold>>,
}

#[derive(Serialize, Deserialize)]
struct KeptTold {
    face: usize,
    over: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptGroup {
    job: String,
    severity: String,
    n_servers: usize,
    incidents: Vec<KeptIncident>,
    faces: Vec<KeptFace>,
}

#[derive(Serialize, Deserialize)]
struct KeptFace {
    severity: String,
    cause: String,
    instance: Option<String>,
    start: i64,
    end: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct KeptIncident {
    id: String,
    instance: String,
    start: i64,
    end: Option<i64>,
    severity: String,
    peak_score: Option<f32>,
    peak: i64,
    movements: Vec<KeptMovement>,
    cause: KeptCause,
    alternatives: Vec<KeptCause>,
}

#[derive(Serialize, Deserialize)]
struct KeptCause {
    name: String,
    confidence: Option<f32>,
}

#[derive(Serialize, Deserialize)]
struct KeptMovement {
    feature: String,
    expected: Option<f32>,
    observed: Option<f32>,
    deviation: Option<f32>,
    share: Option<f32>,
}

/// The text of a file. JSON has no NaN: such a number is null.
pub(super) fn text(groups: &[&IncidentGroup], told: &ToldOf) -> Vec<u8> {
    let groups = groups.iter().map(|group| KeptGroup::of(group)).collect();
    let told = told
        .iter()
        .map(|(name, of)| {
            let kept = |t: &Told| KeptTold { face: t.face, over: t.over };
            (name.clone(), of.iter().map(|(id, told)| (id.clone(), kept(told))).collect())
        })
        .collect();
    let book = KeptBook { version: VERSION, groups, told };
    // Cannot fail: all keys are text.
    serde_json::to_vec(&book).unwrap_or_default()
}

/// What a file at `path` says; nothing when there is none.
///
/// # Errors
/// Why it cannot be used, in words.
pub(super) fn read(path: &Path) -> Result<(Vec<IncidentGroup>, ToldOf), String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        file => file.map_err(|error| error.to_string())?,
    };
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let book: KeptBook = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if book.version != VERSION {
        return Err(format!("its format is {}, this version reads {VERSION}", book.version));
    }
    let groups = book.groups.into_iter().take(MAX_GROUPS).filter_map(KeptGroup::group).collect();
    let told = book.told.into_iter().map(|(name, of)| {
        let told = |kept: KeptTold| Told { face: kept.face, over: kept.over };
        (name, of.into_iter().map(|(id, kept)| (id, told(kept))).collect())
    });
    Ok((groups, told.collect()))
}

impl KeptGroup {
    fn of(group: &IncidentGroup) -> Self {
        Self {
            job: group.job.clone(),
            severity: group.severity.as_str().to_owned(),
            n_servers: group.n_servers,
            incidents: group.incidents.iter().map(KeptIncident::of).collect(),
            faces: group.faces.iter().map(KeptFace::of).collect(),
        }
    }

    fn group(self) -> Option<IncidentGroup> {
        let incidents: Vec<Incident> =
            self.incidents.into_iter().map(KeptIncident::incident).collect();
        let first = incidents.first()?.clone();
        let mut group = IncidentGroup::new(&self.job, first);
        group.severity = severity(&self.severity);
        group.incidents = incidents;
        group.faces = self.faces.into_iter().map(KeptFace::face).collect();
        let last = group.faces.iter().filter_map(|face| face.end.or(Some(face.start))).max();
        // It may be critical already; what it says of that is taken as it is.
        group.settle(self.n_servers, last.unwrap_or(group.start), f32::INFINITY);
        Some(group)
    }
}

impl KeptFace {
    fn of(face: &Face) -> Self {
        Self {
            severity: face.severity.as_str().to_owned(),
            cause: face.cause.clone(),
            instance: face.instance.clone(),
            start: face.start.millis(),
            end: face.end.map(Timestamp::millis),
        }
    }

    fn face(self) -> Face {
        Face {
            severity: severity(&self.severity),
            cause: self.cause,
            instance: self.instance,
            start: Timestamp::from_millis(self.start),
            end: self.end.map(Timestamp::from_millis),
        }
    }
}

impl KeptIncident {
    fn of(incident: &Incident) -> Self {
        Self {
            id: incident.id.clone(),
            instance: incident.instance.clone(),
            start: incident.start.millis(),
            end: incident.end.map(Timestamp::millis),
            severity: incident.severity.as_str().to_owned(),
            peak_score: number(incident.peak_score),
            peak: incident.peak.millis(),
            movements: incident.movements.iter().map(KeptMovement::of).collect(),
            cause: KeptCause::of(&incident.cause),
            alternatives: incident.alternatives.iter().map(KeptCause::of).collect(),
        }
    }

    fn incident(self) -> Incident {
        Incident {
            id: self.id,
            instance: self.instance,
            start: Timestamp::from_millis(self.start),
            end: self.end.map(Timestamp::from_millis),
            severity: severity(&self.severity),
            peak_score: self.peak_score.unwrap_or(f32::NAN),
            peak: Timestamp::from_millis(self.peak),
            movements: self.movements.into_iter().map(KeptMovement::movement).collect(),
            cause: self.cause.cause(),
            alternatives: self.alternatives.into_iter().map(KeptCause::cause).collect(),
        }
    }
}

impl KeptCause {
    fn of(cause: &Cause) -> Self {
        Self { name: cause.name.to_owned(), confidence: number(cause.confidence) }
    }

    /// The words are those of this version; a cause that it does not know is unknown.
    fn cause(self) -> Cause {
        let confidence = self.confidence.unwrap_or(f32::NAN);
        match CAUSES.iter().find(|entry| entry.name == self.name) {
            Some(entry) => Cause {
                name: entry.name,
                summary: entry.summary,
                confidence,
                next_steps: entry.next_steps,
            },
            None => Cause { confidence, ..diagnose(&[]).cause },
        }
    }
}

impl KeptMovement {
    fn of(movement: &Movement) -> Self {
        Self {
            feature: movement.feature.clone(),
            expected: number(movement.expected),
            observed: number(movement.observed),
            deviation: number(movement.deviation),
            share: number(movement.share),
        }
    }

    fn movement(self) -> Movement {
        let number = |kept: Option<f32>| kept.unwrap_or(f32::NAN);
        Movement {
            feature: self.feature,
            expected: number(self.expected),
            observed: number(self.observed),
            deviation: number(self.deviation),
            share: number(self.share),
        }
    }
}

fn number(value: f32) -> Option<f32> {
    value.is_finite().then_some(value)
}

fn severity(word: &str) -> Severity {
    if word == Severity::Critical.as_str() { Severity::Critical } else { Severity::Warning }
}
