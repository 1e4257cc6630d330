//! The clock and the timer, natively and in a JavaScript runtime. Called by the transport.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{Instant, sleep};
#[cfg(target_arch = "wasm32")]
pub(crate) use web::{Instant, sleep};

#[cfg(not(target_arch = "wasm32"))]
mod native {
    pub(crate) use std::time::Instant;
    pub(crate) use tokio::time::sleep;
}

#[cfg(target_arch = "wasm32")]
mod web {
    use std::time::Duration;

    use js_sys::{Date, Function, Promise, Reflect};
    use wasm_bindgen_futures::JsFuture;
    use wasm_bindgen_futures::wasm_bindgen::{JsCast, JsValue};

    /// An instant of the wall clock: the monotonic one is not in every runtime.
    #[derive(Clone, Copy)]
    pub(crate) struct Instant(u64);

    impl Instant {
        pub(crate) fn now() -> Self {
            Self(Date::now() as u64)
        }

        pub(crate) fn elapsed(self) -> Duration {
            Duration::from_millis(Self::now().0.saturating_sub(self.0))
        }
    }

    pub(crate) async fn sleep(duration: Duration) {
        let ms = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let timer = Promise::new(&mut |resolve, _| {
            let set_timeout = Reflect::get(&js_sys::global(), &JsValue::from_str("setTimeout"))
                .ok()
                .and_then(|value| value.dyn_into::<Function>().ok())
                .expect("every JavaScript runtime has setTimeout");
            set_timeout.call2(&JsValue::UNDEFINED, &resolve, &JsValue::from(ms)).expect("setTimeout does not throw");
        });
        JsFuture::from(timer).await.expect("a timer does not reject");
    }
}
