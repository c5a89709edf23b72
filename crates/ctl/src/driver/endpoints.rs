//! All endpoints, a page at a time.

use wskguard_abi::{Code, EndpointInfo, ListEndpointsRequest, ListReply};
use zerocopy::IntoBytes;

use super::{
    Driver, Result,
    reply::{elements, malformed},
};
use crate::transport::Transport;

/// The endpoints of [`Driver::endpoints`].
#[derive(Debug)]
pub struct Endpoints<'a, T> {
    driver: &'a mut Driver<T>,
    page: std::vec::IntoIter<EndpointInfo>,
    /// Where the next page begins; none after the last.
    cursor: Option<u64>,
}

impl<'a, T: Transport> Endpoints<'a, T> {
    pub(super) fn new(driver: &'a mut Driver<T>) -> Self {
        Self {
            driver,
            page: Vec::new().into_iter(),
            cursor: Some(0),
        }
    }

    /// The next page; empty at the end.
    ///
    /// # Errors
    /// See [`Error`]. The list ends then.
    pub fn next_page(&mut self) -> Result<Vec<EndpointInfo>> {
        let code = Code::ListEndpoints;
        while let Some(cursor) = self.cursor.take() {
            let request = ListEndpointsRequest::new(cursor, u32::MAX);
            let (reply, tail) = self.driver.call::<ListReply>(code, request.as_bytes())?;
            let page = elements::<EndpointInfo>(code, &reply, tail)?;
            if reply.next == cursor && cursor != 0 {
                return Err(malformed(code, "it does not end"));
            }
            self.cursor = (reply.next != 0).then_some(reply.next);
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }
}

impl<T: Transport> Iterator for Endpoints<'_, T> {
    type Item = Result<EndpointInfo>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(endpoint) = self.page.next() {
            return Some(Ok(endpoint));
        }
        match self.next_page() {
            Ok(page) => {
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}
