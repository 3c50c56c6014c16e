//! Requests and the responses to them: which belong together, and what is told of them.
//!
//! In: heads that were read, and that a message is over. Out: metadata, and one event per transaction when its response is
//! complete. Holds the requests that wait for their responses.

use super::head::{Head, Part};
use super::{Http, REQUEST_BYTES_MAX, REQUESTS_MAX, State, event};
use crate::dpi::buffers::Stage;
use crate::dpi::{Context, Event, dns};
use weir_common::app::App;
use weir_common::metadata::{Field, Metadata};

impl Http {
    /// Tells signatures that a message is over: no more will come of it.
    pub(super) fn over(&mut self, index: usize, context: &mut Context<'_>) {
        let half = &mut self.halves[index];
        if !half.is_over {
            half.is_over = true;
            let direction = if index == self.client.index() { self.client } else { self.client.flip() };
            context.reached(direction, half.number, Stage::Body);
        }
    }

    /// The message is complete.
    pub(super) fn end_message(&mut self, context: &mut Context<'_>) {
        let index = context.direction.index();
        self.end_body(index, true, context);
        self.over(index, context);
        let half = &mut self.halves[index];
        half.state = State::Start;
        if half.head.is_response() {
            self.respond(index, context);
        }
    }

    /// A request is read: it waits for its response.
    pub(super) fn ask(&mut self, index: usize, mut head: Head, context: &mut Context<'_>) {
        learn_request(&head, context.metadata);
        self.has_asked = true;
        head.number = self.next_number();
        dns::carried_in_target(head.get(Part::Target).unwrap_or_default(), head.number, context);
        self.halves[index].number = head.number;
        self.waiting_bytes += head.text_bytes();
        self.waiting.push_back(head);
        while self.waiting.len() > REQUESTS_MAX || self.waiting_bytes > REQUEST_BYTES_MAX {
            if !self.tell_oldest(context) {
                break;
            }
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        let number = self.transactions;
        self.transactions = self.transactions.saturating_add(1);
        number
    }

    /// Finds the request that the response of direction `index` answers.
    pub(super) fn take_request(&mut self, index: usize, context: &mut Context<'_>) {
        let request = match self.waiting.pop_front() {
            Some(head) => {
                self.waiting_bytes -= head.text_bytes().min(self.waiting_bytes);
                Some(head)
            }
            // The answer came before the request was complete: what there is of it is answered.
            None => {
                let asking = &mut self.halves[1 - index];
                let is_asking = asking.state == State::Head && asking.head.has(Part::Target);
                let number = self.transactions;
                is_asking.then(|| {
                    asking.number = number;
                    let mut head = asking.head.take_answered();
                    head.number = number;
                    head
                })
            }
        };
        let is_expected = self.has_asked && self.halves[1 - index].state != State::Lost;
        let number = match &request {
            Some(head) if head.number < self.transactions => head.number,
            _ => self.next_number(),
        };
        const UNASKED: &str = "UNABLE_TO_MATCH_RESPONSE_TO_REQUEST";
        if request.is_none() && is_expected {
            context.anomaly(UNASKED, Some(number));
        } else if request.is_none() {
            // The other direction was not captured, which is nothing odd but to signatures.
            context.note(UNASKED, Some(number));
        }
        self.halves[index].number = number;
        self.halves[index].request = request;
        self.halves[index].is_matched = true;
    }

    /// Tells the transaction whose response direction `index` has read.
    pub(super) fn respond(&mut self, index: usize, context: &mut Context<'_>) {
        if !self.halves[index].is_matched {
            self.take_request(index, context);
        }
        let half = &mut self.halves[index];
        half.is_matched = false;
        half.has_continued = false;
        let half_number = half.number;
        learn_response(&half.head, context.metadata);
        let mut request = half.request.take();
        let mut response = std::mem::take(&mut half.head);
        let length = std::mem::take(&mut half.body_bytes);
        self.tell(half_number, request.as_ref(), Some((&response, length)), context);
        response.clear();
        self.halves[index].head = response;
        if let Some(request) = &mut request {
            request.clear();
        }
        self.spare = request.or(self.spare.take());
    }

    /// Tells the oldest request without a response; false when there is none.
    pub(super) fn tell_oldest(&mut self, context: &mut Context<'_>) -> bool {
        let Some(request) = self.waiting.pop_front() else { return false };
        self.waiting_bytes -= request.text_bytes().min(self.waiting_bytes);
        self.tell(request.number, Some(&request), None, context);
        true
    }

    pub(super) fn tell(
        &self,
        transaction: u64,
        request: Option<&Head>,
        response: Option<(&Head, u64)>,
        context: &mut Context<'_>,
    ) {
        let Some(events) = context.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(512);
        event::write(request, response, &mut body);
        let (time, direction) = (context.time, self.client);
        let event = Event::new(App::Http, time, direction, body);
        events.push(Event { transaction: Some(transaction), ..event });
    }
}

fn learn_request(head: &Head, metadata: &mut Metadata) {
    let is_first = metadata.get(Field::HttpMethod).is_none();
    let parts = [
        (Part::Method, Field::HttpMethod, Field::HttpMethods),
        (Part::Target, Field::HttpUri, Field::HttpUris),
        (Part::Host, Field::HttpHost, Field::HttpHosts),
        (Part::UserAgent, Field::HttpUserAgent, Field::HttpUserAgents),
    ];
    for (part, field, list) in parts {
        let value = match part {
            Part::Host => head.get(part).or_else(|| head.target_authority()),
            part => head.get(part),
        };
        if let Some(value) = value {
            learn(value, field, list, is_first, metadata);
        }
    }
}

/// A flow is described by its first request, also in what that does not have; values that come later stand
/// in the list.
pub(in crate::dpi) fn learn(
    value: &[u8],
    field: Field,
    list: Field,
    is_first: bool,
    metadata: &mut Metadata,
) {
    if is_first {
        return metadata.set_bytes(field, value);
    }
    let first = metadata.text(field);
    if first.is_some_and(|first| first.as_bytes() == value) {
        return;
    }
    if let Some(first) = first.map(str::to_owned) {
        metadata.add(list, &first);
    }
    metadata.add(list, &String::from_utf8_lossy(value));
}

pub(super) fn learn_response(head: &Head, metadata: &mut Metadata) {
    let status = u64::from(head.status());
    if status == 0 {
        return;
    }
    if let Some(first) = metadata.number(Field::HttpStatus) {
        if first != status {
            metadata.add(Field::HttpStatuses, itoa::Buffer::new().format(first));
            metadata.add(Field::HttpStatuses, itoa::Buffer::new().format(status));
        }
        return;
    }
    metadata.set_number(Field::HttpStatus, status);
    for (part, field) in [(Part::ContentType, Field::HttpContentType), (Part::Server, Field::HttpServer)] {
        if let Some(value) = head.get(part) {
            metadata.set_bytes(field, value);
        }
    }
}
