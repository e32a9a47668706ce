//! The tables of STATS.

use super::{Column, Table, int, key, small, time};

pub(super) const TABLES: &[Table] = &[
    table("users", USERS),
    table("posts", POSTS),
    table("badges", BADGES),
    table("comments", COMMENTS),
    table("votes", VOTES),
    table("postHistory", POST_HISTORY),
    table("postLinks", POST_LINKS),
    table("tags", TAGS),
];

const fn table(name: &'static str, columns: &'static [Column]) -> Table {
    Table { name, columns }
}

const USERS: &[Column] = &[
    int("Id"),
    int("Reputation"),
    time("CreationDate"),
    int("Views"),
    int("UpVotes"),
    int("DownVotes"),
];

const POSTS: &[Column] = &[
    int("Id"),
    small("PostTypeId"),
    time("CreationDate"),
    int("Score"),
    int("ViewCount"),
    key("OwnerUserId", "users.Id"),
    int("AnswerCount"),
    int("CommentCount"),
    int("FavoriteCount"),
    key("LastEditorUserId", "users.Id"),
];

const BADGES: &[Column] = &[int("Id"), key("UserId", "users.Id"), time("Date")];

const COMMENTS: &[Column] = &[
    int("Id"),
    key("PostId", "posts.Id"),
    int("Score"),
    time("CreationDate"),
    key("UserId", "users.Id"),
];

const VOTES: &[Column] = &[
    int("Id"),
    key("PostId", "posts.Id"),
    small("VoteTypeId"),
    time("CreationDate"),
    key("UserId", "users.Id"),
    small("BountyAmount"),
];

const POST_HISTORY: &[Column] = &[
    int("Id"),
    small("PostHistoryTypeId"),
    key("PostId", "posts.Id"),
    time("CreationDate"),
    key("UserId", "users.Id"),
];

const POST_LINKS: &[Column] = &[
    int("Id"),
    time("CreationDate"),
    key("PostId", "posts.Id"),
    key("RelatedPostId", "posts.Id"),
    small("LinkTypeId"),
];

const TAGS: &[Column] = &[int("Id"), int("Count"), key("ExcerptPostId", "posts.Id")];
