//! CloudWatch: what an instance measures.

use std::time::Duration;

use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{Dimension, Statistic},
};

use super::client::Rds;
use crate::base::{Result, clock};

/// RDS measures once a minute, and a point may come some minutes late.
const LOOK_BACK: Duration = Duration::from_mins(15);

impl Rds {
    /// Bytes of an instance's storage that are free, at the newest point of the last quarter of an hour; `None` when
    /// CloudWatch has none. An Aurora instance has no storage of its own.
    ///
    /// # Errors
    /// Those of AWS; the action is `cloudwatch:GetMetricStatistics`.
    pub async fn free_storage(&self, id: &str) -> Result<Option<u64>> {
        let now_ms = clock::epoch_ms();
        let from_ms = now_ms.saturating_sub(u64::try_from(LOOK_BACK.as_millis()).unwrap_or(0));
        let at = |ms: u64| DateTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
        let call = self.aws.metrics().await?.get_metric_statistics();
        let call = call.namespace("AWS/RDS").metric_name("FreeStorageSpace").statistics(Statistic::Minimum);
        let call = call.dimensions(Dimension::builder().name("DBInstanceIdentifier").value(id).build());
        let sent = call.start_time(at(from_ms)).end_time(at(now_ms)).period(60).send().await;
        let answer = sent.map_err(|error| self.aws.asks("GetMetricStatistics", id).of_metrics().failed(&error))?;
        let newest = answer.datapoints().iter().max_by_key(|point| point.timestamp().map(DateTime::secs));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a disk")]
        let bytes = |bytes: f64| (bytes >= 0.0).then_some(bytes as u64);
        Ok(newest.and_then(aws_sdk_cloudwatch::types::Datapoint::minimum).and_then(bytes))
    }
}
