//! From cosines to what is shown: scores, what was taught among them, and smoothing.

use std::time::Duration;

use crate::labels::ScoreName;

/// What makes logits of a model's cosines.
#[derive(Clone, Copy, Debug)]
pub struct Logits {
    pub scale: f32,
    pub bias: f32,
}

/// A prototype that matches fully stands this far above the mean of the texts: more than any text does.
const TAUGHT: f32 = 0.15;
/// How fast a prototype loses with distance: Tip-Adapter's (Zhang et al. 2022).
const SHARPNESS: f32 = 5.5;

/// Scores of one picture. `cosines` are those of the texts, then, where `taught` says so, those of prototypes: pictures lie nearer
/// to pictures than to any text, so theirs are put on the texts' scale as Tip-Adapter does.
pub fn scores(cosines: &[f32], taught: &[bool], logits: Logits, score: ScoreName) -> Vec<f32> {
    let texts: Vec<f32> = cosines.iter().zip(taught).filter(|(_, taught)| !**taught).map(|(c, _)| *c).collect();
    let mean = texts.iter().sum::<f32>() / texts.len().max(1) as f32;
    let adapted = |(&cosine, &taught): (&f32, &bool)| match taught {
        true => mean + TAUGHT * (-SHARPNESS * (1.0 - cosine)).exp(),
        false => cosine,
    };
    let y = |c: f32| logits.scale * c + logits.bias;
    match score {
        ScoreName::Cosine => cosines.to_vec(),
        ScoreName::Sigmoid => cosines.iter().zip(taught).map(|both| 1.0 / (1.0 + (-y(adapted(both))).exp())).collect(),
        ScoreName::Softmax => {
            let y: Vec<f32> = cosines.iter().zip(taught).map(|both| y(adapted(both))).collect();
            let greatest = y.iter().copied().fold(f32::MIN, f32::max);
            let e: Vec<f32> = y.iter().map(|v| (v - greatest).exp()).collect();
            let sum: f32 = e.iter().sum();
            e.iter().map(|v| v / sum).collect()
        }
    }
}

/// The scores with the last ones, of `backgrounds`, as one: their sum where all sum to one, else the best of them.
pub fn with_one_background(mut scores: Vec<f32>, backgrounds: usize, score: ScoreName) -> Vec<f32> {
    if backgrounds > 0 {
        let last = scores.split_off(scores.len() - backgrounds);
        scores.push(match score {
            ScoreName::Softmax => last.iter().sum(),
            ScoreName::Sigmoid | ScoreName::Cosine => last.iter().copied().fold(f32::MIN, f32::max),
        });
    }
    scores
}

/// Scores over time: a running mean, and a leader that changes only for one that is clearly ahead.
#[derive(Clone, Debug, Default)]
pub struct Smooth {
    pub scores: Vec<f32>,
    pub leader: Option<usize>,
}

impl Smooth {
    /// How far ahead another must be to lead, as a share of the span of the scores.
    const MARGIN: f32 = 0.1;

    /// Takes the scores of a frame that came `after` the one before; `constant` is the time in which a change is two thirds done.
    pub fn take(&mut self, raw: &[f32], after: Duration, constant: Duration) {
        if self.scores.len() != raw.len() {
            *self = Self { scores: raw.to_vec(), leader: best(raw) };
            return;
        }
        let share = match constant.is_zero() {
            true => 1.0,
            false => 1.0 - (-after.as_secs_f32() / constant.as_secs_f32()).exp(),
        };
        self.scores.iter_mut().zip(raw).for_each(|(kept, new)| *kept += share * (new - *kept));
        let Some(first) = best(&self.scores) else { return };
        let least = self.scores.iter().copied().fold(f32::MAX, f32::min);
        let margin = Self::MARGIN * (self.scores[first] - least);
        if self.leader.is_none_or(|leads| self.scores[first] > self.scores[leads] + margin) {
            self.leader = Some(first);
        }
    }
}

pub fn best(scores: &[f32]) -> Option<usize> {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Logits = Logits { scale: 100.0, bias: 0.0 };

    #[test]
    fn a_taught_thing_leads_where_it_is_shown_and_not_elsewhere() {
        let taught = [false, false, true];
        let shown = scores(&[0.24, 0.21, 0.97], &taught, CLIP, ScoreName::Softmax);
        assert_eq!(best(&shown), Some(2), "{shown:?}");
        let other = scores(&[0.29, 0.19, 0.60], &taught, CLIP, ScoreName::Softmax);
        assert_eq!(best(&other), Some(0), "{other:?}");
        assert!((other.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn backgrounds_are_one_score() {
        let scores = [0.5, 0.2, 0.2, 0.1];
        assert_eq!(with_one_background(scores.into(), 0, ScoreName::Softmax), scores);
        assert_eq!(with_one_background(scores.into(), 2, ScoreName::Sigmoid), [0.5, 0.2, 0.2]);
        let summed = with_one_background(scores.into(), 3, ScoreName::Softmax);
        assert!((summed[1] - 0.5).abs() < 1e-6 && summed.len() == 2, "{summed:?}");
    }

    #[test]
    fn the_leader_changes_only_for_one_that_is_clearly_ahead() {
        let (mut smooth, tenth, constant) = (Smooth::default(), Duration::from_millis(100), Duration::from_millis(300));
        smooth.take(&[0.5, 0.4, 0.1], tenth, constant);
        for _ in 0..30 {
            smooth.take(&[0.44, 0.46, 0.1], tenth, constant);
        }
        assert_eq!(smooth.leader, Some(0), "nearly equal: no flicker");
        assert!((smooth.scores[1] - 0.46).abs() < 1e-3);
        smooth.take(&[0.1, 0.8, 0.1], tenth, constant);
        assert_eq!(smooth.leader, Some(1));
        let mut at_once = Smooth::default();
        at_once.take(&[0.0, 1.0], tenth, Duration::ZERO);
        at_once.take(&[1.0, 0.0], tenth, Duration::ZERO);
        assert_eq!((at_once.leader, at_once.scores[0]), (Some(0), 1.0));
    }
}
