//! What Postgres sends beside the answers of statements: their plans.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A statement as it was run, and its plan.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    /// With single spaces.
    pub(crate) text: String,
    pub(crate) plan: Value,
}

/// Collects the plans of all statements of this process.
#[derive(Clone, Default)]
pub(crate) struct Capture(Arc<Mutex<Vec<Captured>>>);

impl Capture {
    pub(crate) fn start() -> Self {
        let capture = Self::default();
        let notices = Targets::new().with_target("sqlx::postgres::notice", LevelFilter::INFO);
        let subscriber = tracing_subscriber::registry().with(capture.clone().with_filter(notices));
        tracing::subscriber::set_global_default(subscriber).unwrap();
        capture
    }

    /// What was collected since the last call.
    pub(crate) fn take(&self) -> Vec<Captured> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let Some((_, json)) = message.0.split_once("plan:") else { return };
        let explained: Value = serde_json::from_str(json).unwrap();
        let text = explained["Query Text"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        self.0.lock().unwrap().push(Captured { text, plan: explained["Plan"].clone() });
    }
}

struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
