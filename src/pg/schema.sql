-- Every object that people made in this database: kind, name, and its definition as text.
--
-- Rules that keep a 15 and an 18 alike: names of types and functions are qualified (search_path = pg_catalog); NOT NULL is
-- a property of a column, though 18 keeps it as a constraint; texts of views lose qualifiers, blanks and parentheses,
-- which versions print differently, and what they refer to is listed beside them; MAINTAIN (17) is no difference, and
-- neither are an owner's own privileges; objects that are derived from a partitioned parent's are left to the parent.

WITH ext AS MATERIALIZED (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
nsp AS MATERIALIZED (
  SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrun')),
rel AS MATERIALIZED (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name, pg_get_userbyid(c.relowner)::text AS owner,
         (SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(c.reloptions) o) AS options
  FROM pg_class c JOIN nsp n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't' AND c.oid NOT IN (SELECT objid FROM ext WHERE classid = 'pg_class'::regclass)),
fun AS MATERIALIZED (
  SELECT p.*, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name
  FROM pg_proc p JOIN nsp n ON n.oid = p.pronamespace
  WHERE p.oid NOT IN (SELECT objid FROM ext WHERE classid = 'pg_proc'::regclass)
    -- Constructors that come with a range type; those of multiranges since 14.
    AND p.oid NOT IN (SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND deptype = 'i')),
typ AS MATERIALIZED (
  SELECT t.*, format('%I.%I', n.nspname, t.typname) AS name
  FROM pg_type t JOIN nsp n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
  WHERE (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
    AND t.oid NOT IN (SELECT objid FROM ext WHERE classid = 'pg_type'::regclass)),
seen AS MATERIALIZED (
  -- What each view or rule reads.
  SELECT r.oid AS rule, string_agg(DISTINCT format('%I.%I', n.nspname, c.relname), ' ') AS relations
  FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
  JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE r.oid >= 16384 GROUP BY r.oid),
acl AS (
  SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END || ' ' || c.name AS name, c.relowner AS owner,
         coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)) AS acl
  FROM rel c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relacl IS NOT NULL
  UNION ALL SELECT 'column ' || c.name || '.' || quote_ident(a.attname), c.relowner, a.attacl
    FROM pg_attribute a JOIN rel c ON c.oid = a.attrelid WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL SELECT 'schema ' || quote_ident(n.nspname), n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)) FROM nsp n
  UNION ALL SELECT 'function ' || f.name, f.proowner, coalesce(f.proacl, acldefault('f', f.proowner)) FROM fun f
  UNION ALL SELECT 'type ' || t.name, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner)) FROM typ t
  UNION ALL SELECT format('default for %s of %s in %s', d.defaclobjtype, pg_get_userbyid(d.defaclrole),
      coalesce(quote_ident(n.nspname), 'all')), d.defaclrole, d.defaclacl
    FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace)

SELECT 'schema' AS kind, quote_ident(n.nspname) AS name, 'owner ' || pg_get_userbyid(n.nspowner)::text AS definition FROM nsp n

UNION ALL
SELECT CASE c.relkind WHEN 'f' THEN 'foreign table' ELSE 'table' END, c.name, concat_ws('; ', c.relkind, c.relpersistence,
    'owner ' || c.owner, 'identity ' || c.relreplident::text, CASE WHEN c.relrowsecurity THEN 'row security' END,
    CASE WHEN c.relforcerowsecurity THEN 'forced' END, c.options, pg_get_partkeydef(c.oid),
    pg_get_expr(c.relpartbound, c.oid), (SELECT 'access ' || m.amname::text FROM pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap'),
    (SELECT 'inherits ' || string_agg(p.relname, ', ' ORDER BY i.inhseqno) FROM pg_inherits i
       JOIN pg_class p ON p.oid = i.inhparent WHERE i.inhrelid = c.oid),
    (SELECT 'server ' || s.srvname::text || ' ' || coalesce(array_to_string(f.ftoptions, ' '), '') FROM pg_foreign_table f
       JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid))
FROM rel c WHERE c.relkind IN ('r', 'p', 'f')

UNION ALL
SELECT 'column', c.name || '.' || quote_ident(a.attname), concat_ws('; ',
    format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
    CASE WHEN a.attidentity <> '' THEN 'identity ' || a.attidentity::text END,
    CASE WHEN a.attgenerated <> '' THEN 'generated ' || a.attgenerated::text END,
    'default ' || pg_get_expr(d.adbin, d.adrelid),
    CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || (SELECT l.collname::text FROM pg_collation l WHERE l.oid = a.attcollation) END,
    -- Without the gaps that dropped columns leave.
    'position ' || row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum))
FROM pg_attribute a JOIN rel c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')

UNION ALL
SELECT 'index', c.name, concat_ws('; ', pg_get_indexdef(i.indexrelid), CASE WHEN NOT i.indisvalid THEN 'invalid' END,
    CASE WHEN i.indisreplident THEN 'identity' END, CASE WHEN i.indisclustered THEN 'clustered' END)
FROM pg_index i JOIN rel c ON c.oid = i.indexrelid

UNION ALL
SELECT 'constraint', coalesce(c.name, t.name) || '.' || quote_ident(k.conname),
    concat_ws('; ', pg_get_constraintdef(k.oid), CASE WHEN NOT k.convalidated THEN 'not validated' END)
FROM pg_constraint k LEFT JOIN rel c ON c.oid = k.conrelid LEFT JOIN typ t ON t.oid = k.contypid
WHERE k.contype <> 'n' AND k.conparentid = 0 AND coalesce(c.oid, t.oid) IS NOT NULL

UNION ALL
SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, c.name,
    concat_ws('; ', 'owner ' || c.owner, c.options, s.relations, regexp_replace(regexp_replace(pg_get_viewdef(c.oid),
      '("([^"]|"")*"|[[:alpha:]_][[:alnum:]_$]*)\.', '', 'g'), '[[:space:]();]', '', 'g'))
FROM rel c JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN' LEFT JOIN seen s ON s.rule = r.oid
WHERE c.relkind IN ('v', 'm')

UNION ALL
SELECT 'rule', c.name || '.' || quote_ident(r.rulename), concat_ws('; ', r.ev_enabled, s.relations, regexp_replace(regexp_replace(
    pg_get_ruledef(r.oid), '("([^"]|"")*"|[[:alpha:]_][[:alnum:]_$]*)\.', '', 'g'), '[[:space:]();]', '', 'g'))
FROM pg_rewrite r JOIN rel c ON c.oid = r.ev_class LEFT JOIN seen s ON s.rule = r.oid WHERE r.rulename <> '_RETURN'

UNION ALL
SELECT 'sequence', c.name, concat_ws('; ', 'owner ' || c.owner, format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement,
    s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN 'cycle' END,
    (SELECT format('of %I.%I.%I', n.nspname, o.relname, a.attname) FROM pg_depend d JOIN pg_class o ON o.oid = d.refobjid
       JOIN pg_namespace n ON n.oid = o.relnamespace
       JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
       WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
         AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0))
FROM rel c JOIN pg_sequence s ON s.seqrelid = c.oid

UNION ALL
SELECT 'function', f.name, concat_ws('; ', f.prokind, 'owner ' || pg_get_userbyid(f.proowner)::text, l.lanname,
    pg_get_function_arguments(f.oid), pg_get_function_result(f.oid), f.provolatile, f.proparallel, f.procost, f.prorows,
    CASE WHEN f.prosecdef THEN 'security definer' END, CASE WHEN f.proisstrict THEN 'strict' END,
    CASE WHEN f.proleakproof THEN 'leakproof' END, array_to_string(f.proconfig, ' '), f.probin,
    -- A body in standard SQL (14) is kept parsed, and printed like a view.
    CASE WHEN to_jsonb(f) ->> 'prosqlbody' IS NULL THEN f.prosrc ELSE regexp_replace(regexp_replace(
      pg_get_functiondef(f.oid), '("([^"]|"")*"|[[:alpha:]_][[:alnum:]_$]*)\.', '', 'g'), '[[:space:]();]', '', 'g') END,
    (SELECT concat_ws(' ', a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggsortop, format_type(a.aggtranstype, NULL), a.agginitval)
       FROM pg_aggregate a WHERE a.aggfnoid = f.oid))
FROM fun f JOIN pg_language l ON l.oid = f.prolang

UNION ALL
SELECT 'trigger', c.name || '.' || quote_ident(t.tgname), concat_ws('; ', pg_get_triggerdef(t.oid), 'enabled ' || t.tgenabled::text)
FROM pg_trigger t JOIN rel c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgparentid = 0

UNION ALL
SELECT 'policy', c.name || '.' || quote_ident(p.polname), concat_ws('; ', p.polcmd, CASE WHEN p.polpermissive THEN 'permissive' END,
    (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r)::text END, ', ' ORDER BY 1) FROM unnest(p.polroles) r),
    'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p JOIN rel c ON c.oid = p.polrelid

UNION ALL
SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, t.name, concat_ws('; ', t.typtype,
    'owner ' || pg_get_userbyid(t.typowner)::text,
    (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
    (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid),
    CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
    CASE WHEN t.typtype = 'd' AND t.typnotnull THEN 'not null' END, 'default ' || t.typdefault)
FROM typ t

UNION ALL
SELECT 'extension', quote_ident(e.extname), 'in ' || quote_ident(n.nspname)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace

UNION ALL
SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
FROM pg_statistic_ext s JOIN nsp n ON n.oid = s.stxnamespace

UNION ALL
SELECT 'event trigger', quote_ident(e.evtname), concat_ws('; ', e.evtevent, e.evtenabled, e.evtfoid::regproc::text, array_to_string(e.evttags, ' '))
FROM pg_event_trigger e WHERE e.oid NOT IN (SELECT objid FROM ext WHERE classid = 'pg_event_trigger'::regclass)

UNION ALL
SELECT 'grant', g.name, coalesce(string_agg(g.grantee || ' ' || g.privilege || CASE WHEN g.grantable THEN '*' ELSE '' END, ', '
    ORDER BY g.grantee, g.privilege), '')
FROM (SELECT a.name, CASE x.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(x.grantee)::text END AS grantee,
        x.privilege_type AS privilege, bool_or(x.is_grantable) AS grantable
      FROM acl a LEFT JOIN LATERAL aclexplode(a.acl) x ON x.grantee <> a.owner AND x.privilege_type <> 'MAINTAIN'
      WHERE x.grantee IS NOT NULL GROUP BY 1, 2, 3) g
GROUP BY g.name
