/*
 * IAM database authentication, included by rdslab.c: a member of rds_iam who comes by TLS (a line `hostssl .. +rds_iam
 * .. trust` of pg_hba.conf) is asked for a cleartext password, and the token in it is looked at: user, host and port,
 * age, form. Its signature cannot be verified: the secret key is the client's, and no server of the lab knows it.
 *
 * Source: RDS user guide, "Connecting to your DB instance using IAM authentication": a presigned request for the action
 * `connect`, valid for 15 minutes. RDS checks it by a PAM module, whose one error is all that a client sees.
 */
#include <time.h>

#include "utils/datetime.h"

#define TOKEN_SECONDS 900
/* Clocks differ; AWS allows a signature of five minutes ahead. */
#define AHEAD_SECONDS 300
#define MOST_TOKEN 16384

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The decoded value of a field of the query; empty when it is not there. */
static const char *
token_field(const char *query, const char *name)
{
	size_t length = strlen(name);
	StringInfoData value;

	initStringInfo(&value);
	for (const char *at = query; at != NULL; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL)
	{
		if (strncmp(at, name, length) != 0 || at[length] != '=')
			continue;
		for (at += length + 1; *at != '\0' && *at != '&'; at++)
		{
			int high = *at == '%' ? hex_digit(at[1]) : -1;
			int low = high >= 0 ? hex_digit(at[2]) : -1;

			if (low >= 0)
			{
				appendStringInfoChar(&value, (char) (high * 16 + low));
				at += 2;
			}
			else
				appendStringInfoChar(&value, *at);
		}
		break;
	}
	return value.data;
}

static bool
is_fresh(const char *date, const char *expires)
{
	int year, month, day, hour, minute, second, end = 0;
	int64 signed_at, now = (int64) time(NULL);
	int seconds = atoi(expires);

	if (sscanf(date, "%4d%2d%2dT%2d%2d%2dZ%n", &year, &month, &day, &hour, &minute, &second, &end) != 6 || end != 16)
		return false;
	signed_at = ((int64) date2j(year, month, day) - UNIX_EPOCH_JDATE) * 86400 + hour * 3600 + minute * 60 + second;
	return seconds > 0 && seconds <= TOKEN_SECONDS && now < signed_at + seconds && now + AHEAD_SECONDS >= signed_at;
}

static bool
is_token(const char *token, const char *user)
{
	const char *colon = strchr(token, ':');
	const char *end = strstr(token, "/?");
	const char *query = end ? end + 2 : NULL;
	const char *credential, *date, *signature, *scope;

	if (query == NULL || colon == NULL || colon > end || !in_list(iam_hosts, pnstrdup(token, colon - token)) ||
		strcmp(pnstrdup(colon + 1, end - colon - 1), psprintf("%d", PostPortNumber)) != 0)
		return false;
	credential = token_field(query, "X-Amz-Credential");
	date = token_field(query, "X-Amz-Date");
	signature = token_field(query, "X-Amz-Signature");
	/* KEY/yyyymmdd/REGION/rds-db/aws4_request, of the day of the signature. */
	scope = strchr(credential, '/');
	if (scope == NULL || scope == credential || strncmp(scope + 1, date, 8) != 0 ||
		strstr(scope, "/rds-db/aws4_request") == NULL)
		return false;
	return strcmp(token_field(query, "Action"), "connect") == 0 &&
		strcmp(token_field(query, "DBUser"), user) == 0 &&
		strcmp(token_field(query, "X-Amz-Algorithm"), "AWS4-HMAC-SHA256") == 0 &&
		strcmp(token_field(query, "X-Amz-SignedHeaders"), "host") == 0 &&
		is_fresh(date, token_field(query, "X-Amz-Expires")) &&
		strlen(signature) == 64 && strspn(signature, "0123456789abcdef") == 64;
}

/* The password message (manual, "Message Formats"); NULL when the client sends something else. */
static const char *
ask_password(void)
{
	StringInfoData message;

	pq_beginmessage(&message, 'R');
	pq_sendint32(&message, AUTH_REQ_PASSWORD);
	pq_endmessage(&message);
	pq_flush();
	pq_startmsgread();
	if (pq_getbyte() != 'p')
		return NULL;
	initStringInfo(&message);
	if (pq_getmessage(&message, MOST_TOKEN) != 0 || strlen(message.data) + 1 != (size_t) message.len)
		return NULL;
	return message.data;
}

static void
authenticate(Port *port, int status)
{
	const char *token;

	if (next_authentication)
		next_authentication(port, status);
	if (status != STATUS_OK || !iam || port->hba->auth_method != uaTrust || port->hba->conntype != ctHostSSL)
		return;
	token = ask_password();
	if (token == NULL || !is_token(token, port->user_name))
		ereport(FATAL, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("PAM authentication failed for user \"%s\"", port->user_name)));
}
