//! The one function that everything else serves: synchronous, total, without clock, chance or I/O.

use super::{
    Decision, Input, Kind, Outcome, RuleSet, State, command,
    draft::{Draft, Said},
    ended, raised, resolved, sentence, woken,
};

/// What `input` means in `state` under `rules`: the next state, what to remember of the decision,
/// and what must be done. The same three always give the same decision.
#[must_use]
pub fn decide(rules: &RuleSet, state: &State, input: &Input) -> Decision {
    decide_owned(rules, state.clone(), input)
}

/// [`decide`] for a caller that has no use for the old state.
#[must_use]
pub fn decide_owned(rules: &RuleSet, state: State, input: &Input) -> Decision {
    let mut draft = Draft::new(rules, state, input);
    match &input.kind {
        Kind::Raised { alert, rules } => raised::raised(&mut draft, alert, rules),
        Kind::Resolved { alert, rules } => resolved::resolved(&mut draft, alert, rules),
        Kind::Completed(action) => ended::completed(&mut draft, action),
        Kind::Failed(action) => ended::failed(&mut draft, action),
        Kind::Timer(timer) => woken::woken(&mut draft, timer),
        Kind::Command(command) => command::obey(&mut draft, command),
        Kind::RulesLoaded(loaded) => {
            let outcome = match loaded.fault {
                None => Outcome::RulesLoaded,
                Some(_) => Outcome::Refused,
            };
            let said = Said::new(outcome, sentence::rules_loaded(loaded));
            draft.say(None, said);
        }
    }
    draft.finish()
}
