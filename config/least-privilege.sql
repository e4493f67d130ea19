-- A role with what walferry needs and nothing more.
--
-- Run the parts that you need as a superuser, or as the owner of the database and its tables.
-- Replace, everywhere:
--   "walferry"                    the role, as in postgres.url
--   "shop"                        the database
--   "shop_owner"                  the role that owns the listed tables
--   "public"                      their schema; repeat the lines for each further one
--   "orders", "outbox"            the listed tables, and the outbox tables
--   "walferry_shop"               postgres.publication, and with _inserts the second one
--   'change-me'                   the password, best as a SCRAM verifier
--
-- In pg_hba.conf the role needs a line for the database itself: logical replication does not use
-- the word `replication` there.
--   hostssl  shop  walferry  10.0.0.0/8  scram-sha-256

-- == Always
--
-- REPLICATION creates, reads and drops the slot. On Amazon RDS it is GRANT "rds_replication" TO
-- "walferry" in place of the attribute.
CREATE ROLE "walferry" LOGIN REPLICATION PASSWORD 'change-me';
GRANT CONNECT ON DATABASE "shop" TO "walferry";

-- == To read tables
--
-- Snapshots need it; the stream does not. Of a partitioned table grant it on each partition as well,
-- since they are read one by one. Columns in exclude_columns need no right: name the others, and
-- ctid, without which a large table is read in one piece: GRANT SELECT (ctid, "id", "note") ON ….
-- Under row-level security the role also needs BYPASSRLS.
GRANT USAGE ON SCHEMA "public" TO "walferry";
GRANT SELECT ON TABLE "public"."orders", "public"."outbox" TO "walferry";

-- == With publication_manage = "never"
--
-- The least that is possible: the role can change nothing in the database. `walferry check` prints
-- the statements for your whitelist. Both publications are to be there before the slot is made.
CREATE PUBLICATION "walferry_shop" FOR TABLE ONLY "public"."orders"
  WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);
CREATE PUBLICATION "walferry_shop_inserts" FOR TABLE ONLY "public"."outbox"
  WITH (publish = 'insert', publish_via_partition_root = true);

-- == With publication_manage = "auto"
--
-- PostgreSQL lets only the owner of a table publish it, so the role becomes a member of the owner
-- and could write to the tables as well. Choose "never" where that is too much.
GRANT CREATE ON DATABASE "shop" TO "walferry";
GRANT "shop_owner" TO "walferry";
