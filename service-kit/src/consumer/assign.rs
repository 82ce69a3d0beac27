//! Where to begin with the partitions that the group has assigned.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
};
use sqlx::PgPool;

use super::{
    context::Context,
    watermarks::{Place, Scope, Watermarks},
};
use crate::{Error, kafka};

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A partition and where to begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) place: Place,
    /// `None`: at the beginning.
    pub(super) offset: Option<i64>,
}

/// Reads the offsets of database and group, and decides.
pub(super) async fn starts(
    pool: &PgPool,
    consumer: &Arc<StreamConsumer<Context>>,
    watermarks: &Watermarks,
    places: &[Place],
) -> Result<Vec<Start>, Error> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let group = group_offsets(Arc::clone(consumer), places.to_vec()).await?;
    let ends = watermarks.ends(Scope::Places(places.to_vec())).await?;
    let database = database_offsets(pool, places).await?;
    let mut starts = Vec::with_capacity(places.len());
    for place in places {
        let known = Known {
            database: database.get(place).copied(),
            group: group.get(place).copied(),
            end: ends.get(place).copied().unwrap_or_default(),
        };
        let decision = known.decide();
        decision.say(place, known);
        // it speaks of records that are gone, and would hold the stored offset up
        if decision.offset().is_none() && known.database.is_some() {
            forget(pool, place).await?;
        }
        starts.push(Start {
            place: place.clone(),
            offset: decision.offset(),
        });
    }
    Ok(starts)
}

/// Next offset as everyone has it; `end` is one past the last record.
#[derive(Clone, Copy, Debug)]
struct Known {
    database: Option<i64>,
    group: Option<i64>,
    end: i64,
}

/// Repeats are harmless, gaps are not: in doubt begin earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Neither knows the partition.
    New,
    /// Group and database agree, or the group commits a little later.
    GroupOffset(i64),
    /// The database is older than the group: it was restored.
    DatabaseOffset(i64),
    /// The group has consumed, this database has not: it is another one, or empty.
    ForeignGroup,
    /// The database has consumed, the group has no offset: expired, or another cluster.
    NoGroup,
    /// The topic ends before what the database has consumed: other records are there now.
    LostTail,
}

impl Known {
    fn decide(self) -> Decision {
        match (self.database, self.group) {
            (Some(database), _) if database > self.end => Decision::LostTail,
            (Some(database), Some(group)) if database < group => Decision::DatabaseOffset(database),
            (Some(_), Some(group)) => Decision::GroupOffset(group),
            (None, Some(group)) if group > 0 => Decision::ForeignGroup,
            (Some(database), None) if database > 0 => Decision::NoGroup,
            (None, Some(_)) | (Some(_), None) | (None, None) => Decision::New,
        }
    }
}

impl Decision {
    fn offset(self) -> Option<i64> {
        match self {
            Self::GroupOffset(offset) | Self::DatabaseOffset(offset) => Some(offset),
            Self::New | Self::ForeignGroup | Self::NoGroup | Self::LostTail => None,
        }
    }

    fn say(self, (topic, partition): &Place, known: Known) {
        let why = match self {
            Self::New | Self::GroupOffset(_) => {
                tracing::debug!(topic, partition, ?known, "partition begins");
                return;
            }
            Self::DatabaseOffset(_) => {
                "the database is older than the group: beginning at its offset"
            }
            Self::ForeignGroup => {
                "this database has consumed nothing of it: beginning at the start"
            }
            Self::NoGroup => "the group has no offset: beginning at the start",
            Self::LostTail => {
                "the topic ends before what the database has consumed: beginning at the start"
            }
        };
        let (database, group, end) = (known.database, known.group, known.end);
        tracing::warn!(topic, partition, database, group, end, "{why}");
    }
}

async fn database_offsets(pool: &PgPool, places: &[Place]) -> Result<HashMap<Place, i64>, Error> {
    let topics: Vec<String> = places.iter().map(|(topic, _)| topic.clone()).collect();
    let rows = sqlx::query!(
        "SELECT topic, partition, next_offset FROM consumer_offsets WHERE topic = ANY($1)",
        &topics
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading the consumer's offsets"))?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.topic, row.partition), row.next_offset))
        .collect())
}

/// Offsets only rise; these speak of records that are gone.
async fn forget(pool: &PgPool, (topic, partition): &Place) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM consumer_offsets WHERE topic = $1 AND partition = $2",
        topic,
        partition
    )
    .execute(pool)
    .await
    .map(drop)
    .map_err(Error::database("forgetting an offset"))
}

async fn group_offsets(
    consumer: Arc<StreamConsumer<Context>>,
    places: Vec<Place>,
) -> Result<HashMap<Place, i64>, Error> {
    let read = move || {
        let mut asked = TopicPartitionList::with_capacity(places.len());
        for (topic, partition) in &places {
            asked.add_partition(topic, *partition);
        }
        let told = consumer.committed_offsets(asked, PATIENCE)?;
        let mut offsets = HashMap::new();
        for element in told.elements() {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert((element.topic().to_owned(), element.partition()), offset);
            }
        }
        Ok(offsets)
    };
    let doing = "reading the group's offsets";
    kafka::ask(doing, read).await?.map_err(Error::kafka(doing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(database: Option<i64>, group: Option<i64>, end: i64) -> Decision {
        Known {
            database,
            group,
            end,
        }
        .decide()
    }

    #[test]
    fn the_lower_of_both_and_never_beyond_the_end() {
        assert_eq!(decide(None, None, 9), Decision::New);
        assert_eq!(decide(Some(5), Some(5), 9), Decision::GroupOffset(5));
        // killed before the group's commit
        assert_eq!(decide(Some(7), Some(5), 9), Decision::GroupOffset(5));
        // restored from an older dump
        assert_eq!(decide(Some(3), Some(5), 9), Decision::DatabaseOffset(3));
        // an empty database beside a group that has consumed everything
        assert_eq!(decide(None, Some(9), 9), Decision::ForeignGroup);
        assert_eq!(decide(Some(9), None, 9), Decision::NoGroup);
        assert_eq!(decide(Some(9), Some(9), 4), Decision::LostTail);
        assert_eq!(decide(Some(9), None, 0), Decision::LostTail);
        for decision in [
            decide(None, Some(9), 9),
            decide(Some(9), None, 9),
            decide(Some(9), Some(9), 4),
        ] {
            assert_eq!(decision.offset(), None, "from the beginning");
        }
    }
}
