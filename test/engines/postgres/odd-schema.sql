-- A database with everything that has ever broken a dump, a digest or a comparison of ours or of a peer.
-- Roles are shared by the databases of a server, so each is made only where it is missing.
set client_encoding = utf8;
select format('create role %I', name) from (values
  ('plain reader'), ('o''quote'), ('dollar$HOME'), ('back\slash'), ('ünïcode'), ('double"quote'), ('select'), ('new
line')) as wanted(name)
  where not exists (select from pg_roles where rolname = name) \gexec

create extension citext;
create extension hstore;
create schema extensions;
create extension pg_trgm schema extensions;

comment on schema public is 'a comment with a '' quote';
create schema "Odd.Schema with ""quotes"" and ünïcode";
create schema "select" authorization "select";

-- Types
create type public.halt as enum ('running', 'halted', 'it''s odd');
alter type public.halt add value 'paused' before 'halted';
create domain public.positive as numeric check (value > 0);
create domain public.state as public.halt not null default 'running';
create type public.pair as (state public.halt, amount numeric, label text collate "C");
create domain public.strict_pair as public.pair check ((value).amount is null or (value).amount >= 0);
create type public.span as range (subtype = numeric);
create collation public.ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create function public.next_hash(prior bytea, payload text) returns bytea
  language sql immutable strict as $$ select sha256(prior || convert_to(payload, 'UTF8')) $$;

create table public.every_type (
  id int primary key,
  b boolean, s smallint, big bigint, o oid, u uuid, d date, ts timestamp, tz timestamptz, raw bytea, n name, net inet,
  t text, v varchar(20), c char(5), single "char",
  num numeric, fixed numeric(10, 4), f4 real, f8 double precision, cash money,
  e public.halt, es public.halt[], dom public.positive, ed public.state, p public.pair, sp public.strict_pair, ps public.pair[],
  ir int4range, nr numrange, own public.span, mr datemultirange,
  j json, jb jsonb, js json[], x xml, path jsonpath,
  iv interval, clock time, clockz timetz,
  bits bit(5), vbits bit varying, tsv tsvector, tsq tsquery,
  pt point, bx box, poly polygon, net4 cidr, mac macaddr,
  ct citext, hs hstore, ic text collate public.ignore_case,
  arr int[], matrix text[], cls regclass, lsn pg_lsn
);
insert into public.every_type values
  (1, true, 1, 9223372036854775807, 42, '00000000-0000-0000-0000-000000000001', '2026-11-21', '2026-11-21 01:02:03.456789',
   '2026-11-21 01:02:03+05', '\x00ff', 'a name', '10.0.0.1/8', E'tab\there, "quotes", ''single'', \\ and \n newline', 'varchar', 'ab', 'x',
   1.0, 1.5, 0.1, 0.1, 12.34, 'halted', '{running,halted}', 1.10, 'paused', row('it''s odd', 1.00, null), row('running', 0, 'x'),
   array[row('running', 1, 'a')::public.pair], '[1,5)', '[1.0,2.00)', '[0.5,1.50]', '{[2026-01-01,2026-02-01)}',
   '{"b": 1,  "a": 1}', '{"n": 1.0}', array['{"a":  1}'::json], '<a><b/></a>', '$.a[*]',
   '24 hours', '01:02:03', '01:02:03+02', B'10101', B'1', 'fat:1 cat', 'fat & cat',
   '(1,2)', '(1,1),(0,0)', '((0,0),(1,1),(1,0))', '10.0.0.0/8', '08:00:2b:01:02:03',
   'MixedCase', 'a=>1, b=>NULL', 'Ärger', '[0:2]={1,2,3}', '{{a,NULL},{"",d}}', 'public.every_type', '0/16B3748'),
  (2, null, null, null, null, null, 'infinity', '-infinity', 'infinity', '', '', '::1', '', '', '', '',
   1.00, 'NaN', '-0', '-0', -1, 'running', '{}', 1.1, 'running', null, null,
   null, 'empty', '(,)', 'empty', '{}',
   'null', '{"n": 1.00}', '{}', '', null,
   '1 day', '24:00:00', null, B'00000', B'', '', '',
   null, null, null, null, null,
   'mixedcase', '', 'ärger', '{1,2,3}', '{}', null, null),
  (3, false, -32768, -9223372036854775808, 4294967295, null, '4713-01-01 BC', '294276-12-31', '1970-01-01 00:00:00+00', '\xdeadbeef',
   'ünïcode', null, '日本語 🐘', null, null, 'y',
   'Infinity', null, 'NaN', 'Infinity', null, null, array[null, 'halted']::public.halt[], null, 'it''s odd', row(null, null, null), null,
   null, null, null, null, null, '[]', '[1, 2.50, null]', null, null, null, '-1 mons +3 days -00:00:01', null, null, null, null,
   null, null, null, null, null, null, null, null, null, null, '{NULL}', null, null, null);

-- Names
create table public."User" (id serial primary key, "Na""me" text, "select" int, "with space" int, "ünïcode" int, "dot.ted" int,
  "dollar$1" int, "back\slash" int, "col:on" int, "a,b" int);
insert into public."User" ("Na""me", "select", "col:on") select 'n' || i, i, -i from generate_series(1, 20) i;
create table public."user" (id int);
insert into public."user" values (1);
create table "Odd.Schema with ""quotes"" and ünïcode"."Table.with ""dots"", spaces and $dollars" ("from" int, "where" text);
insert into "Odd.Schema with ""quotes"" and ünïcode"."Table.with ""dots"", spaces and $dollars" values (1, 'x'), (2, null);
create table "select"."table" ("order" int primary key, "group" text default 'by');
insert into "select"."table" values (1), (2);
create table "select"."*" (id int);
create table "select"."new
line" ("col
umn" int);
insert into "select"."new
line" values (7);

-- Generated, identity, defaults
create table public.generated (
  id bigint generated always as identity (start 10 increment 5 minvalue 10 maxvalue 1000000 cycle),
  other int generated by default as identity, price numeric, taxed numeric generated always as (price * 1.25) stored);
insert into public.generated (price) select i * 1.10 from generate_series(1, 10) i;
create sequence public.downward increment -2 start 100 minvalue -100 maxvalue 100 cache 5;
select nextval('public.downward'), nextval('public.downward');
create sequence public.never_called start 7;
create sequence public.small as smallint maxvalue 10 cycle;
select setval('public.small', 10);

-- Partitions, also of partitions, and a default one
create table public.log (at date not null, region text, line text) partition by range (at);
create table public.log_2025 partition of public.log for values from ('2025-01-01') to ('2026-01-01');
create table public.log_2026 partition of public.log for values from ('2026-01-01') to ('2027-01-01') partition by list (region);
create table public.log_2026_eu partition of public.log_2026 for values in ('eu');
create table public.log_2026_rest partition of public.log_2026 default;
create table public.log_default partition of public.log default;
create index on public.log (region);
insert into public.log select '2025-06-01'::date + (i * 20), (array['eu', 'us'])[1 + i % 2], 'line ' || i from generate_series(0, 60) i;

-- Inheritance
create table public.animal (id int primary key, name text, legs int default 4);
create table public.dog (bark text) inherits (public.animal);
create table public.cat (meow text, extra int) inherits (public.animal);
alter table public.dog add column tail int;
insert into public.animal values (1, 'animal');
insert into public.dog (id, name, bark) values (2, 'dog', 'wuff');
insert into public.cat (id, name, meow) values (3, 'cat', 'miau');
alter table public.cat drop column extra;

-- Foreign keys in a circle, and to itself
create table public.hen (id int primary key, egg int not null, parent int references public.hen);
create table public.egg (id int primary key, hen int not null references public.hen deferrable initially deferred);
alter table public.hen add foreign key (egg) references public.egg deferrable initially deferred;
begin;
insert into public.hen values (1, 1, null), (2, 2, 1);
insert into public.egg values (1, 1), (2, 2);
commit;

-- Views; materialized views: fresh, stale, never filled, on another one
create view public.users_view as select id, "Na""me" from public."User" where id > 5;
create materialized view public.fresh as select count(*) as n from public."User";
create unique index on public.fresh (n);
create materialized view public.stale as select count(*) as n from public."user";
insert into public."user" values (2), (3);
create materialized view public.unpopulated as select 1 as one with no data;
create materialized view public.on_top as select n + 1 as m from public.fresh;
create rule quiet as on insert to public.users_view do instead nothing;

-- Row-level security
create table public.secrets (id int primary key, owner name, secret text);
insert into public.secrets select i, 'plain reader', 'secret ' || i from generate_series(1, 10) i;
alter table public.secrets enable row level security;
create policy mine on public.secrets for select to "plain reader", "dollar$HOME" using (id <= 3);
create policy everybody on public.secrets as restrictive using (true);
grant select on public.secrets to "plain reader";

-- Grants, owners, default privileges
alter table public.hen owner to "o'quote";
alter function public.next_hash owner to "ünïcode";
grant select, insert (id) on public.egg to "double""quote" with grant option;
grant usage on schema "Odd.Schema with ""quotes"" and ünïcode" to "back\slash";
alter default privileges for role "new
line" in schema public grant select on tables to "select";
revoke all on function public.next_hash from public;

-- Unlogged, empty, without columns, only generated or dropped columns
create unlogged table public.unlogged (id int, v text);
insert into public.unlogged values (1, 'gone after a crash');
create table public.empty (id int);
create table public.no_columns ();
insert into public.no_columns default values;
insert into public.no_columns default values;
create table public.all_dropped (gone int);
insert into public.all_dropped values (1), (2), (3);
alter table public.all_dropped drop column gone;

-- Functions, triggers, event triggers
create function public.touch() returns trigger language plpgsql as $body$
begin
  new.v := coalesce(new.v, 'touched'); -- $$ 'quotes' "in" here
  return new;
end $body$;
create trigger touch before insert on public.unlogged for each row execute function public.touch();
create procedure public.nothing() language sql as $$ select 1 $$;
create aggregate public.total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0');
create operator public.=== (leftarg = int, rightarg = int, function = int4eq);
create cast (public.pair as bytea) with inout;
create function public.on_ddl() returns event_trigger language plpgsql as $$ begin null; end $$;
create event trigger watch_ddl on ddl_command_end execute function public.on_ddl();
alter event trigger watch_ddl disable;

-- The rest
create index trigrams on public.every_type using gin (t extensions.gin_trgm_ops);
create index partial_expression on public."User" (lower("Na""me")) where id > 3;
alter table public."user" add constraint no_overlap exclude using gist (int4range(id, id + 1) with &&);
create statistics public.stats on b, s from public.every_type;
create text search configuration public.simple_search (copy = pg_catalog.simple);
create publication some_tables for table public.egg, public.hen;
create foreign data wrapper dummy;
create server far foreign data wrapper dummy options (host 'nowhere');
create foreign table public.far_away (id int) server far;
create user mapping for "plain reader" server far options (password 'x');
comment on table public."User" is E'comment with ''quotes'', \\ and\nnewline';
comment on column public."User"."Na""me" is 'ünïcode 🐘';

-- Large objects: text, empty, bigger than a page, with a hole
select lo_from_bytea(90001, 'a large object');
select lo_create(90002);
select lo_from_bytea(90003, decode(repeat('00ff', 100000), 'hex'));
select lo_create(90004);
begin;
select lo_lseek(lo_open(90004, 131072), 10000, 0);
select lowrite(0, 'after a hole');
commit;
grant select on large object 90001 to "plain reader";
comment on large object 90001 is 'a comment';
