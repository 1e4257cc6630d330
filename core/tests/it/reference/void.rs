//! The void of an event: everything it did, undone in reverse.

use super::command::{Answer, BlockId, Code, EventId};
use super::entry::EntryKind;
use super::model::Model;

impl Model {
    /// The event's debt lowers what is open of the feature's; the rest comes back from the blocks that settled it, newest
    /// first; then each block gets back what it paid.
    pub(super) fn void(&mut self, id: EventId) -> Result<Answer, Code> {
        let event = self.events.get(id).ok_or("not_found")?.clone();
        if let Some(answer) = &event.voided {
            return Ok(answer.again());
        }
        let undone = self.lower_debt(Some(&event.feature), event.debt);

        let mut rest = event.debt - undone;
        let mut returned: Vec<(BlockId, i64)> = Vec::new();
        for settled in self.settled.iter_mut().rev().filter(|settled| settled.feature == event.feature) {
            let back = rest.min(settled.amount - settled.undone);
            settled.undone += back;
            rest -= back;
            returned.push((settled.block, back));
        }
        assert_eq!(rest, 0, "what was owed and is not open was settled");
        returned.extend(event.taken);
        for (id, amount) in &returned {
            self.blocks[*id].remaining += amount;
            self.blocks[*id].consumed -= amount;
        }
        let answer = Answer {
            event: Some(id),
            credit: returned.iter().map(|(_, amount)| amount).sum(),
            debt: undone,
            ..Answer::default()
        };
        self.events[id].voided = Some(answer.clone());
        self.seal(EntryKind::Void, self.now);
        self.meet_fates(&returned, self.now);
        self.settle(self.now);
        Ok(answer)
    }
}
