/*
 * Roles as RDS has them, included by rdslab.c: which of them are its own, who administers the others, and what
 * membership in rds_replication gives.
 */

/* Roles of RDS that nobody renames, drops or alters. */
static bool
is_reserved(const char *role)
{
	static const char *const all[] = {"rdsadmin", "rds_superuser", "rds_replication", "rds_password", "rds_iam"};

	for (int i = 0; i < (int) lengthof(all); i++)
		if (strcmp(role, all[i]) == 0)
			return true;
	return false;
}

/* Roles that reach the server's files and programs, and so its superuser. */
static bool
is_of_the_server(const char *role)
{
	return strcmp(role, "rdsadmin") == 0 || strcmp(role, "pg_execute_server_program") == 0 ||
		strcmp(role, "pg_read_server_files") == 0 || strcmp(role, "pg_write_server_files") == 0;
}

static void
refuse_grant(const char *role)
{
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied to grant role \"%s\"", role),
					errdetail("Only roles with the ADMIN option on role \"%s\" may grant this role.", role)));
}

/* Whether a role may be granted by somebody who is no superuser. */
static void
look_at_grant(const char *role, bool privileged)
{
	if (is_of_the_server(role) || (is_reserved(role) && !privileged))
		refuse_grant(role);
}

static void
look_at_reserved(const char *role, const char *what)
{
	if (is_reserved(role))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to %s role", what),
						errdetail("The role \"%s\" belongs to Amazon RDS.", role)));
}

static const char *
spec_name(RoleSpec *spec)
{
	Oid role = get_rolespec_oid(spec, true);

	return OidIsValid(role) ? GetUserNameFromId(role, false) : "";
}

static HeapTuple
role_tuple(Oid role)
{
	return OidIsValid(role) ? SearchSysCache1(AUTHOID, ObjectIdGetDatum(role)) : NULL;
}

/* A role that exists and is no superuser. */
static bool
is_ordinary(Oid role)
{
	HeapTuple tuple = role_tuple(role);
	bool ordinary = HeapTupleIsValid(tuple) && !((Form_pg_authid) GETSTRUCT(tuple))->rolsuper;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return ordinary;
}

#define HAS_SUPERUSER 1
#define HAS_REPLICATION 2
#define HAS_BYPASSRLS 4
#define HAS_PASSWORD 8
#define HAS_OTHER 16
#define HAS_MEMBERS 32
#define WANTS_REPLICATION 64

static int
role_options(List *options)
{
	int found = 0;
	ListCell *cell;

	foreach(cell, options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "superuser") == 0)
			found |= HAS_SUPERUSER;
		else if (strcmp(option->defname, "isreplication") == 0)
			found |= HAS_REPLICATION | (defGetBoolean(option) ? WANTS_REPLICATION : 0);
		else if (strcmp(option->defname, "bypassrls") == 0)
			found |= HAS_BYPASSRLS;
		else if (strcmp(option->defname, "password") == 0)
			found |= HAS_PASSWORD;
		else if (strcmp(option->defname, "validUntil") == 0)
			found |= HAS_PASSWORD | HAS_OTHER;
		else if (strcmp(option->defname, "rolemembers") == 0)
			found |= HAS_MEMBERS;
		else
			found |= HAS_OTHER;
	}
	return found;
}

static void
look_at_password(int options)
{
	Oid group = get_role_oid("rds_password", true);

	if (restrict_password_commands && (options & HAS_PASSWORD) && !has_privs_of_role(GetUserId(), group))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be a member of rds_password to alter passwords")));
}

/* From 16 on whoever has the attribute could give it on; on RDS nobody has it. */
static void
look_at_replication(int options, const char *what)
{
	if (options & WANTS_REPLICATION)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be superuser to %s replication users", what)));
}

/*
 * Members of rds_superuser with CREATEROLE administer every ordinary role, as everybody with CREATEROLE did before 16.
 * Teams that upgraded RDS to 16 found that only those without rds_superuser lost this (gravitational/teleport #48949).
 */
static bool
lifts_role(bool privileged, Oid role)
{
	return privileged && has_createrole_privilege(GetUserId()) && is_ordinary(role);
}

static bool
lifts_alter_role(AlterRoleStmt *statement, bool privileged)
{
	int options = role_options(statement->options);
	const char *name = spec_name(statement->role);
	Oid role = get_rolespec_oid(statement->role, true);

	if (options & HAS_MEMBERS)
	{
		look_at_grant(name, privileged);
		return lifts_role(privileged, role);
	}
	if (role != GetUserId())
		look_at_reserved(name, "alter");
	look_at_password(options);
	look_at_replication(options, "alter");
	if (options & (HAS_SUPERUSER | HAS_REPLICATION | HAS_BYPASSRLS))
		return false;
	/* Below 16 the attribute, which stands for rds_replication here, keeps a role from its own password. */
	if (role == GetUserId() && !(options & HAS_OTHER))
		return is_ordinary(role);
	return lifts_role(privileged, role);
}

static bool
lifts_grant_role(GrantRoleStmt *statement, bool privileged)
{
	ListCell *cell;
	bool lifts = privileged && statement->grantor == NULL, needed = false;

	foreach(cell, statement->granted_roles)
	{
		const char *role = lfirst_node(AccessPriv, cell)->priv_name;

		if (role == NULL)
			return false;
		if (statement->is_grant)
			look_at_grant(role, privileged);
		/* The predefined roles of PostgreSQL go by its own rules. */
		lifts = lifts && strncmp(role, "pg_", 3) != 0 && lifts_role(privileged, get_role_oid(role, true));
		/* Whoever granted it has to revoke it (16): what PostgreSQL allows by itself stays the caller's own grant. */
		needed = needed || (lifts && !is_admin_of_role(GetUserId(), get_role_oid(role, true)));
	}
	foreach(cell, statement->grantee_roles)
		lifts = lifts && !is_reserved(spec_name(lfirst_node(RoleSpec, cell)));
	return lifts && needed;
}

static bool
lifts_drop_role(DropRoleStmt *statement, bool privileged)
{
	ListCell *cell;
	bool lifts = privileged;

	foreach(cell, statement->roles)
	{
		RoleSpec *spec = lfirst_node(RoleSpec, cell);

		look_at_reserved(spec_name(spec), "drop");
		lifts = lifts && lifts_role(privileged, get_rolespec_oid(spec, true));
	}
	return lifts;
}

static void
look_at_new_role(CreateRoleStmt *statement, bool privileged)
{
	ListCell *cell, *inner;
	int options = role_options(statement->options);

	look_at_password(options);
	look_at_replication(options, "create");
	foreach(cell, statement->options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "addroleto") == 0)
			foreach(inner, (List *) option->arg)
				look_at_grant(spec_name(lfirst_node(RoleSpec, inner)), privileged);
	}
}

/*
 * Gives the REPLICATION attribute to whoever has the privileges of rds_replication, and after a revocation takes it
 * from everybody else. PostgreSQL asks for the attribute in places that no hook reaches.
 */
static void
settle_replication(bool takes)
{
	Oid group = get_role_oid("rds_replication", true);
	Relation roles;
	SysScanDesc scan;
	HeapTuple tuple;

	if (!OidIsValid(group))
		return;
	CommandCounterIncrement();
	roles = table_open(AuthIdRelationId, RowExclusiveLock);
	scan = systable_beginscan(roles, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_authid role = (Form_pg_authid) GETSTRUCT(tuple);
		bool wanted = has_privs_of_role(role->oid, group);
		Datum values[Natts_pg_authid] = {0};
		bool nulls[Natts_pg_authid] = {false}, replaces[Natts_pg_authid] = {false};

		if (role->rolsuper || role->oid == group || role->rolreplication == wanted || (!wanted && !takes))
			continue;
		values[Anum_pg_authid_rolreplication - 1] = BoolGetDatum(wanted);
		replaces[Anum_pg_authid_rolreplication - 1] = true;
		tuple = heap_modify_tuple(tuple, RelationGetDescr(roles), values, nulls, replaces);
		CatalogTupleUpdate(roles, &tuple->t_self, tuple);
	}
	systable_endscan(scan);
	table_close(roles, NoLock);
}
