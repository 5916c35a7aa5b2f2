//! What the Graph doors ask of a channel and change in it.

use std::sync::Arc;

use twoticks_core::clock::Clock as _;
use twoticks_core::event::Category;
use twoticks_core::ids::{ChannelId, PhoneNumber, Template};
use twoticks_server::carrier::{Outgoing, Refused};

use super::receivers::Callback;
use super::state::{Quality, Standing, Way};
use super::{CALL_REMEMBERED_MAX, WhatsApp};

impl WhatsApp {
    /// Takes a message that came through the Graph doors, `is_lite` through the Marketing Messages
    /// API: the receiver of its webhooks knows of it what they say, and nothing else.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn send_by_graph(&self, message: &Outgoing, is_lite: bool) -> Result<String, Refused> {
        let now = self.clock.now();
        let snapshot = self.directory.snapshot();
        let is_long =
            serde_json::to_vec(&*message.call).is_ok_and(|text| text.len() > CALL_REMEMBERED_MAX);
        let call = if is_long { Arc::default() } else { Arc::clone(&message.call) };
        let answer = self.state().take(&snapshot, message, &call, Way::Graph { is_lite }, now);
        self.woken.notify_one();
        answer
    }

    /// What a template is for now and how it stands, if that was ever said or asked here.
    #[must_use]
    pub fn template(
        &self,
        channel: &ChannelId,
        template: &Template,
    ) -> Option<(Category, Standing)> {
        let mut state = self.state();
        state.catch_up(self.clock.now());
        state.line(channel).templates.get(template).copied()
    }

    /// A template is not known any more; what was sent with it lives on.
    pub fn drop_template(&self, channel: &ChannelId, template: &Template) {
        self.state().drop_template(channel, template);
    }

    /// What WhatsApp thinks of a number.
    #[must_use]
    pub fn quality(&self, channel: &ChannelId, number: &PhoneNumber) -> Quality {
        self.state().line(channel).qualities.get(number).copied().unwrap_or_default()
    }

    /// Whether Meta collects analytics of a channel's templates.
    #[must_use]
    pub fn has_insights(&self, channel: &ChannelId) -> bool {
        self.state().line(channel).has_insights
    }

    /// From now on Meta collects analytics of a channel's templates; there is no way back.
    pub fn enable_insights(&self, channel: &ChannelId) {
        self.state().line(channel).has_insights = true;
    }

    /// Whether an app is subscribed to a channel, and where it wants to be called.
    #[must_use]
    pub fn subscription(&self, channel: &ChannelId) -> Option<Option<Arc<Callback>>> {
        let mut state = self.state();
        let line = state.line(channel);
        (!line.is_unsubscribed).then(|| line.callback.clone())
    }

    /// An app subscribes to a channel: its webhooks go to `callback`, else to the own server.
    pub fn subscribe(&self, channel: &ChannelId, callback: Option<Callback>) {
        let mut state = self.state();
        let line = state.line(channel);
        (line.is_unsubscribed, line.callback) = (false, callback.map(Arc::new));
    }

    /// The app's subscription ends; what it does not hear, the own server does.
    pub fn unsubscribe(&self, channel: &ChannelId) {
        let mut state = self.state();
        let line = state.line(channel);
        (line.is_unsubscribed, line.callback) = (true, None);
    }
}
