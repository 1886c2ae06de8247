-- What is defined for all databases of a server: kind, name, definition, body. Not whether a role may log in: that is
-- the fence's state. Nor what RDS and PostgreSQL make for themselves, which differs between their versions.
WITH known AS MATERIALIZED (
    SELECT r.*, quote_ident(r.rolname) AS name FROM pg_roles r
     WHERE r.rolname !~ '^(pg_|rds_|rdsadmin$|rdsrepladmin$|rdsproxyadmin$|rdstopmgr$)'
)
SELECT 'role'::text AS kind, k.name::text AS name, concat_ws(' ',
           CASE WHEN k.rolsuper THEN 'superuser' END, CASE WHEN NOT k.rolinherit THEN 'inherits nothing' END,
           CASE WHEN k.rolcreaterole THEN 'creates roles' END, CASE WHEN k.rolcreatedb THEN 'creates databases' END,
           CASE WHEN k.rolreplication THEN 'replicates' END, CASE WHEN k.rolbypassrls THEN 'bypasses row security' END,
           'connections', CASE k.rolconnlimit WHEN -1 THEN 'unlimited' ELSE k.rolconnlimit::text END,
           'valid until ' || k.rolvaliduntil::text)::text AS definition, NULL::text AS body
  FROM known k

-- Since 16 a membership itself says whether it is inherited and whether SET ROLE is allowed; before, the member did. Since
-- 16 too whoever makes a role without being a superuser is its member to administer it and nothing else.
UNION ALL
SELECT 'membership', quote_ident(pg_get_userbyid(g.roleid)) || ' to ' || k.name, concat_ws(' ', 'member',
           CASE WHEN bool_or(g.admin_option) THEN 'with admin option' END,
           CASE WHEN NOT bool_or(:inherit_option) THEN 'without inheriting' END,
           CASE WHEN NOT bool_or(:set_option) THEN 'without set role' END), NULL
  FROM pg_auth_members g JOIN known k ON k.oid = g.member
 WHERE NOT g.admin_option OR :inherit_option OR :set_option
 GROUP BY g.roleid, k.name

UNION ALL
SELECT 'setting', 'all databases' || coalesce(' for ' || k.name, ''),
       (SELECT string_agg(CASE WHEN split_part(c, '=', 1) ~ '\.'
                               THEN split_part(c, '=', 1) || ' has digest ' || hashtextextended(c, 0) ELSE c END,
                          E'\n' ORDER BY c COLLATE "C") FROM unnest(s.setconfig) c), NULL
  FROM pg_db_role_setting s LEFT JOIN known k ON k.oid = s.setrole
 WHERE s.setdatabase = 0 AND (s.setrole = 0 OR k.oid IS NOT NULL)
