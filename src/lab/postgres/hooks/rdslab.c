/*
 * What Amazon RDS changes about PostgreSQL, for the lab's servers: members of rds_superuser may do some of what vanilla
 * PostgreSQL keeps for superusers, rds_replication replicates, RDS's own roles are protected, the rds.* parameters
 * exist, and members of rds_iam log in by tokens. For PostgreSQL 13 to 18; the APIs are those of its own headers.
 *
 * Sources: RDS user guide, "Understanding PostgreSQL roles and permissions", "Understanding the rds_superuser role",
 * "Restricting the password management role", "IAM database authentication".
 *
 * How nobody is fooled: a statement is lifted to the bootstrap superuser only where that statement alone needs it, and
 * only for what was looked at here (names go through PostgreSQL's own lookup, no SQL text is built). Functions of event
 * triggers, the only code of users that runs inside such statements, run as whoever gave the statement. Inside
 * maintenance of foreign tables (SECURITY_RESTRICTED_OPERATION) nothing is lifted.
 */
#include "postgres.h"

/* Their headers need not be installed: without them PostgreSQL's structures keep their layout (libpq/libpq-be.h). */
#undef ENABLE_GSS
#undef USE_OPENSSL

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/publicationcmds.h"
#include "fmgr.h"
#include "libpq/auth.h"
#include "libpq/libpq.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

#if PG_VERSION_NUM >= 140000
#define READ_ONLY_PARAM bool read_only,
#define READ_ONLY_ARG read_only,
#else
#define READ_ONLY_PARAM
#define READ_ONLY_ARG
#endif

/* Its name before 14. */
#ifndef EVENT_TRIGGEROID
#define EVENT_TRIGGEROID EVTTRIGGEROID
#endif

#if PG_VERSION_NUM >= 160000
#define OWNS_RELATION(oid, role) object_ownercheck(RelationRelationId, oid, role)
#define OWNS_PUBLICATION(oid, role) object_ownercheck(PublicationRelationId, oid, role)
#else
#define OWNS_RELATION(oid, role) pg_class_ownercheck(oid, role)
#define OWNS_PUBLICATION(oid, role) pg_publication_ownercheck(oid, role)
#endif

void _PG_init(void);

static ProcessUtility_hook_type next_utility;
static ClientAuthentication_hook_type next_authentication;

/* While a statement is lifted: who gave it. */
static Oid lifted_for = InvalidOid;

static bool logical_replication = true;
static bool force_ssl = false;
static bool restrict_password_commands = false;
static bool adaptive_autovacuum = true;
static int log_retention_period = 4320;
static char *accepted_methods;
static char *extensions;
static bool iam = false;
static char *iam_hosts;

/* Extensions of vanilla PostgreSQL that RDS supports (its release notes, "Extensions supported"): no untrusted
 * language, nothing that reads files of the server. */
#define SUPPORTED \
	"amcheck, bloom, bool_plperl, btree_gin, btree_gist, citext, cube, dblink, dict_int, dict_xsyn, earthdistance, " \
	"fuzzystrmatch, hstore, hstore_plperl, intagg, intarray, isn, jsonb_plperl, lo, ltree, old_snapshot, pageinspect, " \
	"pg_buffercache, pg_freespacemap, pg_prewarm, pg_stat_statements, pg_trgm, pg_visibility, pg_walinspect, " \
	"pgcrypto, pgrowlocks, pgstattuple, plperl, plpgsql, pltcl, postgres_fdw, refint, seg, sslinfo, tablefunc, tcn, " \
	"tsm_system_rows, tsm_system_time, unaccent, uuid-ossp, vector, postgis, pglogical, pg_cron, pg_partman, hypopg"

static bool
in_list(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = list; (at = strstr(at, name)) != NULL; at += length)
		if ((at == list || at[-1] == ' ' || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
			return length > 0;
	return false;
}

/* No superuser, and outside of operations that PostgreSQL itself restricts. */
static bool
is_rds_superuser(void)
{
	Oid group = get_role_oid("rds_superuser", true);

	return OidIsValid(group) && !superuser() && !InSecurityRestrictedOperation() &&
		has_privs_of_role(GetUserId(), group);
}

#include "rdslab_roles.c"

/* The tables of a publication belong to whoever publishes them; schemas and "all" are what is lifted. */
#if PG_VERSION_NUM >= 150000
static bool
lifts_publication(List *objects)
{
	bool schemas = false;
	ListCell *cell;

	foreach(cell, objects)
	{
		PublicationObjSpec *object = lfirst_node(PublicationObjSpec, cell);

		if (object->pubobjtype != PUBLICATIONOBJ_TABLE)
			schemas = true;
		else
		{
			Oid table = RangeVarGetRelid(object->pubtable->relation, AccessShareLock, false);

			if (!OWNS_RELATION(table, GetUserId()))
				return false;
		}
	}
	return schemas;
}
#endif

static bool
lifts_alter_publication(AlterPublicationStmt *statement)
{
	Oid publication = get_publication_oid(statement->pubname, true);

	if (!OidIsValid(publication) || !OWNS_PUBLICATION(publication, GetUserId()))
		return false;
#if PG_VERSION_NUM >= 150000
	return lifts_publication(statement->pubobjects);
#else
	return false;
#endif
}

static bool
lifts_extension(const char *name, const char *what)
{
	if (in_list(extensions, name))
		return true;
	if (strcmp(what, "create") == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("Extension \"%s\" is not supported by Amazon RDS", name),
						errhint("Amazon RDS allows users with rds_superuser role to install supported extensions. "
								"See: SHOW rds.extensions")));
	return false;
}

static bool
lifts_drop(DropStmt *statement)
{
	ListCell *cell;

	if (statement->removeType != OBJECT_EXTENSION && statement->removeType != OBJECT_EVENT_TRIGGER)
		return false;
	if (statement->removeType == OBJECT_EXTENSION)
		foreach(cell, statement->objects)
			if (!lifts_extension(strVal(lfirst(cell)), "drop"))
				return false;
	return true;
}

/*
 * Whether this statement runs as the bootstrap superuser. Refuses by itself what RDS refuses and PostgreSQL does not.
 */
static bool
lifts(Node *statement)
{
	bool privileged;

	if (!IsTransactionState() || superuser())
		return false;
	privileged = is_rds_superuser();
	switch (nodeTag(statement))
	{
		case T_AlterRoleStmt:
			return lifts_alter_role((AlterRoleStmt *) statement, privileged);
		case T_GrantRoleStmt:
			return lifts_grant_role((GrantRoleStmt *) statement, privileged);
		case T_DropRoleStmt:
			return lifts_drop_role((DropRoleStmt *) statement, privileged);
		case T_CreateRoleStmt:
			look_at_new_role((CreateRoleStmt *) statement, privileged);
			return false;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType != OBJECT_ROLE)
				return false;
			look_at_reserved(((RenameStmt *) statement)->subname, "rename");
			return lifts_role(privileged, get_role_oid(((RenameStmt *) statement)->subname, true));
		default:
			break;
	}
	if (!privileged)
		return false;
	switch (nodeTag(statement))
	{
		case T_CreatePublicationStmt:
			if (((CreatePublicationStmt *) statement)->for_all_tables)
				return true;
#if PG_VERSION_NUM >= 150000
			return lifts_publication(((CreatePublicationStmt *) statement)->pubobjects);
#else
			return false;
#endif
		case T_AlterPublicationStmt:
			return lifts_alter_publication((AlterPublicationStmt *) statement);
#if PG_VERSION_NUM < 160000
		/* From 16 on there is pg_create_subscription, and whoever makes one owns it. Below only a superuser can. */
		case T_CreateSubscriptionStmt:
		case T_AlterSubscriptionStmt:
		case T_DropSubscriptionStmt:
			return true;
#endif
		case T_CreateExtensionStmt:
			return lifts_extension(((CreateExtensionStmt *) statement)->extname, "create");
		case T_AlterExtensionStmt:
			return lifts_extension(((AlterExtensionStmt *) statement)->extname, "alter");
		case T_DropStmt:
			return lifts_drop((DropStmt *) statement);
		case T_CreateEventTrigStmt:
		case T_AlterEventTrigStmt:
			return true;
		case T_VariableSetStmt:
			{
				const char *name = ((VariableSetStmt *) statement)->name;

				return name != NULL && pg_strcasecmp(name, "session_replication_role") == 0;
			}
		default:
			return false;
	}
}

/* After the statement: a publication gets its owner, memberships their effect. */
static void
follow_up(Node *statement, bool lifted)
{
	switch (nodeTag(statement))
	{
		case T_CreatePublicationStmt:
			if (lifted)
			{
				const char *name = ((CreatePublicationStmt *) statement)->pubname;

				CommandCounterIncrement();
				AlterPublicationOwner_oid(get_publication_oid(name, false), lifted_for);
			}
			break;
		case T_AlterRoleStmt:
			if (!(role_options(((AlterRoleStmt *) statement)->options) & HAS_MEMBERS))
				break;
			settle_replication(true);
			break;
		case T_GrantRoleStmt:
			settle_replication(!((GrantRoleStmt *) statement)->is_grant);
			break;
		case T_CreateRoleStmt:
			settle_replication(false);
			break;
		case T_DropRoleStmt:
			settle_replication(true);
			break;
		default:
			break;
	}
}

static void
utility(PlannedStmt *planned, const char *query, READ_ONLY_PARAM ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	Node *statement = planned->utilityStmt;
	bool lifted = lifts(statement);
	bool acts = IsTransactionState() && !IsA(statement, TransactionStmt);
	Oid outer = lifted_for, user = InvalidOid;
	int security = 0;

	if (lifted)
	{
		GetUserIdAndSecContext(&user, &security);
		lifted_for = user;
		SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE);
	}
	PG_TRY();
	{
		(next_utility ? next_utility : standard_ProcessUtility) (planned, query, READ_ONLY_ARG context, params, environment,
																 dest, completion);
		if (acts)
			follow_up(statement, lifted);
	}
	PG_FINALLY();
	{
		if (lifted)
		{
			SetUserIdAndSecContext(user, security);
			lifted_for = outer;
		}
	}
	PG_END_TRY();
}

/* Functions of event triggers that no superuser made. */
static bool
needs_fmgr(Oid function)
{
	return IsTransactionState() && get_func_rettype(function) == EVENT_TRIGGEROID;
}

/* Their owner is the most they may be: a superuser's statement does not lend them its rights, nor does a lifted one. */
static void
call(FmgrHookEventType event, FmgrInfo *info, Datum *private)
{
	Oid user;
	int security;

	switch (event)
	{
		case FHET_START:
			*private = (Datum) 0;
			GetUserIdAndSecContext(&user, &security);
			if (superuser_arg(user) && get_func_rettype(info->fn_oid) == EVENT_TRIGGEROID)
			{
				HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(info->fn_oid));
				Oid owner = HeapTupleIsValid(tuple) ? ((Form_pg_proc) GETSTRUCT(tuple))->proowner : InvalidOid;
				Oid as = OidIsValid(lifted_for) ? lifted_for : owner;

				if (HeapTupleIsValid(tuple))
					ReleaseSysCache(tuple);
				if (OidIsValid(as) && !superuser_arg(as))
				{
					int *kept = MemoryContextAlloc(TopTransactionContext, 3 * sizeof(int));

					kept[0] = (int) user;
					kept[1] = security;
					*private = PointerGetDatum(kept);
					SetUserIdAndSecContext(as, security | SECURITY_LOCAL_USERID_CHANGE);
				}
			}
			break;
		case FHET_END:
		case FHET_ABORT:
			if (*private != (Datum) 0)
			{
				int *kept = (int *) DatumGetPointer(*private);

				SetUserIdAndSecContext((Oid) kept[0], kept[1]);
				*private = (Datum) 0;
			}
			break;
	}
}

#include "rdslab_iam.c"

static void
define_bool(const char *name, const char *what, bool *value, bool usual, GucContext context, int flags)
{
	DefineCustomBoolVariable(name, what, NULL, value, usual, context, flags, NULL, NULL, NULL);
}

static void
define_text(const char *name, const char *what, char **value, const char *usual, GucContext context, int flags)
{
	DefineCustomStringVariable(name, what, NULL, value, usual, context, flags, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	int hidden = GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL;

	define_bool("rds.logical_replication", "Enables logical decoding.", &logical_replication, true, PGC_POSTMASTER, 0);
	define_bool("rds.force_ssl", "Force SSL connections.", &force_ssl, false, PGC_SIGHUP, 0);
	define_bool("rds.restrict_password_commands", "Restricts password-related commands to rds_password.",
				&restrict_password_commands, false, PGC_POSTMASTER, 0);
	define_bool("rds.adaptive_autovacuum", "Adaptive autovacuum.", &adaptive_autovacuum, true, PGC_SIGHUP, 0);
	DefineCustomIntVariable("rds.log_retention_period", "Amount of minutes to keep log files.", NULL,
							&log_retention_period, 4320, 1440, 10080, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_text("rds.accepted_password_auth_method", "Accepted password methods.", &accepted_methods, "scram",
				PGC_SIGHUP, 0);
	define_text("rds.extensions", "Extensions that rds_superuser may install.", &extensions, SUPPORTED,
				PGC_INTERNAL, 0);
	define_bool("rdslab.iam", "Members of rds_iam log in by tokens.", &iam, false, PGC_SIGHUP, hidden);
	define_text("rdslab.iam_hosts", "Hosts that a token may name, by commas.", &iam_hosts, "", PGC_SIGHUP, hidden);

	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	next_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = authenticate;
	/* No other library of the lab's servers uses these two. */
	needs_fmgr_hook = needs_fmgr;
	fmgr_hook = call;
}
