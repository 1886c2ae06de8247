create table public.customer (id bigint generated always as identity primary key, name text not null);
insert into public.customer (name) select 'customer ' || n from generate_series(1, 1000) n;
