//! RDS and Secrets Manager through the AWS SDK, with pgrun's own waits. No Rhai.
