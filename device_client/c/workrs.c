/* See workrs.h. Half duplex: while a packet is being sent nothing is read, so an
 * acknowledgement always has room and a job's input cannot end under its sending. Every field
 * of a packet is received straight to its place, so nothing is read ahead and kept. */
#include "workrs.h"

enum { CLOSED, CONNECTING, READY };

enum { /* of a job's flags */
    SUBSCRIBE = 1,
    SUBMIT = 2,
    CANCEL = 4,      /* the caller wants its end */
    CANCEL_NOW = 8,
    ASKED = 16,      /* submitted on this connection, without an answer yet */
    ACCEPTED = 32,
    ANSWERED = 64,   /* a node spoke of it after it was sent: retained messages are its own */
    HAS_OUT = 128,   /* all bytes of the result were told */
    ENDED = 256,     /* it succeeded, and its result is still to come */
    DUE = 512,
    ASK_AGAIN = SUBSCRIBE | SUBMIT | CANCEL_NOW | ASKED | DUE
};

enum { TYPE, LENGTH, BODY, TOPIC_LENGTH, TOPIC, ID, PAYLOAD };
enum { NOT_OURS, STATE, OUT, JSON }; /* what a message is about */
enum { J_STRING = 1, J_ESCAPED = 2, J_KEY = 4, J_JUNK = 8, J_BEGUN = 16, J_NO_QUORUM = 32 };
enum { J_OTHER, J_STATE, J_QUORUM, J_RETRY };

enum {
    CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIPTION = 0x82,
    SUBACK = 0x90, UNSUBSCRIPTION = 0xa2, UNSUBACK = 0xb0, PINGREQ = 0xc0, PINGRESP = 0xd0,
    DISCONNECT = 0xe0, QOS_1 = 0x02, RETAIN = 0x01
};

#define PACKET_MAX 0x100000u /* a node's messages have 256 KiB at most */
#define WINDOW 16u           /* submissions without an answer at a time */
#define STEPS_MAX 256        /* reads and sends of one poll */
#define TIME_MAX_MS 3600000u
#define CANCEL_PERIOD_MAX_MS 30000u
#define NEVER 0x7fffffffu

static const char ROOT_UP[] = "workrs/1/up/";
static const char ROOT_DOWN[] = "workrs/1/down/";
static const char RETRY_AFTER[] = "retry_after_s=";
static const char *const WORDS[] = {"kept", "waiting", "accepted", "queued", "running",
                                    "succeeded", "failed", "cancelled", "expired", "rejected"};
#define WORD_COUNT ((uint8_t)(sizeof WORDS / sizeof *WORDS))

static uint32_t length(const char *text) {
    uint32_t count = 0;
    while (text[count] != '\0') count++;
    return count;
}

static int is_equal(const char *word, const char *text, uint32_t count) {
    uint32_t i = 0;
    for (; i < count; i++)
        if (word[i] == '\0' || word[i] != text[i]) return 0;
    return word[i] == '\0';
}

/* The state of a node's word; `kept` for any other. */
static uint8_t parse_word(const char *text, uint32_t count) {
    for (uint8_t state = WORKRS_WAITING; state < WORD_COUNT; state++)
        if (is_equal(WORDS[state], text, count)) return state;
    return WORKRS_KEPT;
}

static int is_name(const char *name, int is_id) {
    uint32_t i = 0;
    if (name == NULL) return 0;
    for (; name[i] != '\0'; i++) {
        char c = name[i];
        int plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        int mark = c == '.' || c == '-' || (is_id && c == '_');
        if (i >= WORKRS_NAME_MAX || !(plain || (mark && i > 0))) return 0;
    }
    return i > 0;
}

static uint32_t now_ms(const workrs_client *c) {
    return c->config->clock_ms(c->config->context);
}

/* Times wrap around: only differences are looked at. None is planned further ahead than two of the
 * longest times, so what seems to be was due long ago: a device may do nothing for weeks. */
static uint32_t left_ms(uint32_t at_ms, uint32_t now) {
    uint32_t ahead = at_ms - now;
    return ahead > 2 * TIME_MAX_MS ? 0 : ahead;
}

static void plan(workrs_job *job, uint32_t at_ms) {
    job->flags |= DUE;
    job->due_ms = at_ms;
}

static void clear(workrs_job *job, unsigned flags) {
    job->flags = (uint16_t)(job->flags & ~flags);
}

/* --- The list of nodes: the next at once, a pause only after a whole round. */

static void node_answered(workrs_client *c) {
    c->tried = 0;
    c->pause_ms = 0;
}

static void node_failed(workrs_client *c, uint32_t now) {
    const workrs_timing *timing = &c->config->timing;
    if (++c->node >= c->config->nodes) c->node = 0;
    c->not_before_ms = now;
    if (++c->tried < c->config->nodes) return;
    c->tried = 0;
    c->pause_ms = c->pause_ms ? c->pause_ms * 2 : timing->backoff_min_ms;
    if (c->pause_ms > timing->backoff_max_ms) c->pause_ms = timing->backoff_max_ms;
    c->random ^= c->random << 13;
    c->random ^= c->random >> 17;
    c->random ^= c->random << 5;
    /* Half fixed, half random. An hour's half in 1/1024 still fits 32 bits. */
    uint32_t half = c->pause_ms / 2;
    c->not_before_ms = now + half + ((half * (c->random & 1023u)) >> 10);
}

static workrs_error lose(workrs_client *c, workrs_error why, uint32_t now) {
    c->phase = CLOSED;
    c->tx_at = c->tx_end = 0;
    c->tx_input_left = 0;
    c->tx_job = c->rx_job = NULL;
    c->asked = 0;
    c->is_busy = 0;
    for (workrs_job *job = c->jobs; job != NULL; job = job->next) clear(job, ASK_AGAIN);
    /* One that held for long: a new trouble, not the next failure of an old one. */
    if (now - c->began_ms > c->config->timing.backoff_max_ms) node_answered(c);
    node_failed(c, now);
    return why;
}

/* A node without a majority is left at once while others were not tried for that; when all
 * have said so, each is given a while: hopping heals nothing. */
static workrs_error weigh(workrs_client *c, int quorum, uint32_t now) {
    const workrs_config *config = c->config;
    if (quorum) {
        c->left = 0;
        return WORKRS_OK;
    }
    if (config->nodes == 1) return WORKRS_OK;
    if (c->left + 1 >= config->nodes && now - c->began_ms < config->timing.reask_period_ms)
        return WORKRS_OK;
    if (c->left < 255) c->left++;
    return WORKRS_E_NO_MAJORITY;
}

/* --- Packets to send. */

static int is_sending(const workrs_client *c) {
    return c->tx_at < c->tx_end || c->tx_input_left > 0;
}

static void put(workrs_client *c, unsigned byte) {
    c->config->tx[c->tx_end++] = (uint8_t)byte;
}

static void put_text(workrs_client *c, const char *text) {
    while (*text != '\0') put(c, (uint8_t)*text++);
}

static void put_counted(workrs_client *c, const char *text) {
    uint32_t count = length(text);
    put(c, count >> 8);
    put(c, count & 0xffu);
    put_text(c, text);
}

/* Put a fixed header if it, and *head* bytes after it, have room in tx. */
static int begin_packet(workrs_client *c, unsigned type, uint32_t head, uint32_t body) {
    uint32_t left = head + body;
    uint32_t digits = left < 0x80u ? 1 : left < 0x4000u ? 2 : 3; /* below 2 MiB by our limits */
    if (1 + digits + head > (uint32_t)c->config->tx_bytes - c->tx_end) return 0;
    put(c, type);
    while (--digits > 0) {
        put(c, (left & 0x7fu) | 0x80u);
        left >>= 7;
    }
    put(c, left);
    return 1;
}

static uint32_t connect_bytes(const workrs_config *config) {
    const char *username = config->username != NULL ? config->username : config->device;
    uint32_t count = 10 + 2 + length(config->device) + 2 + length(username);
    return config->password != NULL ? count + 2 + length(config->password) : count;
}

static void put_connect(workrs_client *c) {
    const workrs_config *config = c->config;
    uint32_t keepalive_s = 0;
    /* Rounded up: a broker that waits longer does no harm. A Cortex-M0 cannot divide. */
    while (keepalive_s * 1000 < config->timing.keepalive_ms) keepalive_s++;
    if (!begin_packet(c, CONNECT, connect_bytes(config), 0)) return; /* checked by init */
    put_counted(c, "MQTT");
    put(c, 4);
    put(c, config->password != NULL ? 0xc2 : 0x82); /* user name, password, clean session */
    put(c, keepalive_s >> 8);
    put(c, keepalive_s & 0xffu);
    put_counted(c, config->device);
    put_counted(c, config->username != NULL ? config->username : config->device);
    if (config->password != NULL) put_counted(c, config->password);
}

static uint32_t topic_bytes(const char *const *parts) {
    uint32_t count = 0;
    for (; *parts != NULL; parts++) count += length(*parts);
    return count;
}

static int put_packet(workrs_client *c, unsigned type, const char *const *parts, uint32_t body) {
    uint32_t topic = topic_bytes(parts);
    int publish = type == (PUBLISH | QOS_1);
    if (!begin_packet(c, type, 4 + topic + (type == SUBSCRIPTION), body)) return 0;
    if (++c->packet_id == 0) c->packet_id = 1;
    if (!publish) {
        put(c, (unsigned)c->packet_id >> 8);
        put(c, c->packet_id & 0xffu);
    }
    put(c, topic >> 8);
    put(c, topic & 0xffu);
    for (; *parts != NULL; parts++) put_text(c, *parts);
    if (publish) {
        put(c, (unsigned)c->packet_id >> 8);
        put(c, c->packet_id & 0xffu);
    }
    if (type == SUBSCRIPTION) put(c, 1);
    return 1;
}

static int put_subscription(workrs_client *c, unsigned type, const workrs_job *job) {
    const char *parts[] = {ROOT_DOWN, c->config->device, "/", job->id, "/#", NULL};
    return put_packet(c, type, parts, 0);
}

static int put_job(workrs_client *c, workrs_job *job) {
    const char *run[] = {ROOT_UP, c->config->device, "/run/", job->function, "/", job->id, NULL};
    const char *submit[] = {ROOT_UP, c->config->device, "/submit/", job->id, NULL};
    const char *const *parts = job->function != NULL ? run : submit;
    if (!put_packet(c, PUBLISH | QOS_1, parts, job->input_bytes)) return 0;
    c->tx_job = job;
    c->tx_input = job->input;
    c->tx_input_left = job->input_bytes;
    return 1;
}

static int put_cancel(workrs_client *c, const workrs_job *job) {
    const char *parts[] = {ROOT_UP, c->config->device, "/cancel/", job->id, NULL};
    return put_packet(c, PUBLISH | QOS_1, parts, 0);
}

static void sent_cancel(workrs_client *c, workrs_job *job, uint32_t now) {
    uint32_t pause = c->config->timing.answer_timeout_ms << (job->cancels < 8 ? job->cancels : 8);
    if (job->cancels < 255) job->cancels++;
    plan(job, now + (pause < CANCEL_PERIOD_MAX_MS ? pause : CANCEL_PERIOD_MAX_MS));
}

/* The input is with the broker, or at least with our end of the connection: now somebody may
 * be expected to answer. Counted from here, a slow line is no silence. */
static void sent_job(workrs_client *c, workrs_job *job, uint32_t now) {
    if (!(job->flags & ASKED)) {
        if (c->asked++ == 0) c->silent_ms = now;
        job->flags |= ASKED;
    }
    if (!(job->flags & CANCEL)) plan(job, now + c->config->timing.answer_timeout_ms);
}

/* Put the next thing to say into tx. */
static int say_job(workrs_client *c, workrs_job *job, uint32_t now) {
    if ((job->flags & SUBSCRIBE) && put_subscription(c, SUBSCRIPTION, job)) {
        clear(job, SUBSCRIBE);
        return 1;
    }
    if ((job->flags & SUBMIT) && job->input == NULL) clear(job, SUBMIT);
    if ((job->flags & SUBMIT) && ((job->flags & ASKED) || c->asked < WINDOW) && put_job(c, job)) {
        clear(job, SUBMIT | DUE);
        return 1;
    }
    /* Only after acceptance: a cancel that overtakes its job names an unknown one. */
    if ((job->flags & CANCEL_NOW) && put_cancel(c, job)) {
        clear(job, CANCEL_NOW);
        sent_cancel(c, job, now);
        return 1;
    }
    return 0;
}

static void end_job(workrs_client *c, workrs_job *job, uint8_t state, const char *text,
                    uint32_t count);

static void job_is_due(workrs_client *c, workrs_job *job) {
    clear(job, DUE);
    if (job->flags & ENDED) {
        end_job(c, job, WORKRS_SUCCEEDED, "", 0);
    } else if (!(job->flags & ACCEPTED)) {
        job->flags |= SUBMIT;
    } else if (job->flags & CANCEL) {
        /* A cancel alone has no answer until the end; with the job beside it, a node that does
         * not work is found. */
        job->flags |= job->cancels ? CANCEL_NOW | SUBMIT : CANCEL_NOW;
    } else {
        job->flags |= job->input != NULL ? SUBMIT : SUBSCRIBE;
        if (job->input == NULL) plan(job, now_ms(c) + c->config->timing.reask_period_ms);
    }
}

static int say(workrs_client *c, uint32_t now) {
    uint32_t keepalive_ms = c->config->timing.keepalive_ms;
    c->tx_at = c->tx_end = 0;
    if (!c->is_pinged && (now - c->heard_ms >= keepalive_ms || now - c->sent_ms >= keepalive_ms)) {
        if (begin_packet(c, PINGREQ, 0, 0)) {
            c->is_pinged = 1;
            c->pinged_ms = now;
            return 1;
        }
    }
    for (workrs_job *job = c->jobs; job != NULL; job = job->next) {
        if ((job->flags & DUE) && left_ms(job->due_ms, now) == 0) {
            job_is_due(c, job);
            return 1; /* the list may have changed */
        }
        if (say_job(c, job, now)) return 1;
    }
    return 0;
}

/* --- Jobs and what is heard of them. */

static void no_longer_asked(workrs_client *c, workrs_job *job, uint32_t now) {
    if (!(job->flags & ASKED)) return;
    clear(job, ASKED);
    c->asked--;
    c->silent_ms = now;
}

static workrs_job **find(workrs_client *c, const workrs_job *wanted) {
    workrs_job **place = &c->jobs;
    while (*place != NULL && *place != wanted) place = &(*place)->next;
    return *place != NULL ? place : NULL;
}

static void unlist(workrs_client *c, workrs_job *job) {
    workrs_job **place = find(c, job);
    if (place != NULL) *place = job->next;
    no_longer_asked(c, job, c->silent_ms);
    if (c->rx_job == job) {
        c->rx_job = NULL;
        c->rx_kind = NOT_OURS;
    }
    /* Only where there is room beside an acknowledgement: what comes unasked is passed over. */
    if (c->phase == READY && c->tx_input_left == 0 && c->tx_at == 0 && !(job->flags & SUBSCRIBE))
        (void)put_subscription(c, UNSUBSCRIPTION, job);
    job->flags = 0;
}

static void tell(workrs_client *c, workrs_job *job, const char *text, uint32_t count) {
    c->config->on_state(c->config->context, job, text, count);
}

static void end_job(workrs_client *c, workrs_job *job, uint8_t state, const char *text,
                    uint32_t count) {
    unlist(c, job);
    job->state = state;
    tell(c, job, text, count);
}

static void heard_out(workrs_client *c, workrs_job *job) {
    job->flags |= HAS_OUT;
    if (job->flags & ENDED) end_job(c, job, WORKRS_SUCCEEDED, "", 0);
}

static void heard_final(workrs_client *c, workrs_job *job, uint8_t state, const char *text,
                        uint32_t count, uint32_t now) {
    if (job->flags & ENDED) return;
    int wants_out = c->rx_kind == STATE && state == WORKRS_SUCCEEDED && count == 0;
    if (wants_out && !(job->flags & HAS_OUT)) {
        /* Subscribing anew has the broker repeat what it retains. */
        job->flags |= ENDED | SUBSCRIBE;
        clear(job, SUBMIT | CANCEL_NOW);
        plan(job, now + c->config->timing.out_grace_ms);
        return;
    }
    end_job(c, job, state, text, count);
}

static void heard_open(workrs_client *c, workrs_job *job, uint8_t state, const char *text,
                       uint32_t count, uint32_t now) {
    int known = job->state >= WORKRS_ACCEPTED;
    if (known && (c->rx_first & RETAIN)) return; /* a node met before may retain what it last knew */
    if ((job->flags & CANCEL) && job->cancels == 0)
        job->flags |= CANCEL_NOW;
    else if (!(job->flags & CANCEL))
        plan(job, now + c->config->timing.reask_period_ms);
    /* A node that says *accepted* again does not mean that it fell back from running. */
    if (known && state == WORKRS_ACCEPTED) return;
    job->state = state;
    tell(c, job, text, count);
}

/* A refusal answers a question; it is no state of a job that was accepted. Return whether it is
 * the job's end. */
static int is_refused(workrs_client *c, workrs_job *job, const char *text, uint32_t count,
                      uint32_t now) {
    if (!(job->flags & ACCEPTED) && c->json_retry_ms == 0) return 1;
    if (job->flags & ACCEPTED) {
        if (!(job->flags & CANCEL)) plan(job, now + c->config->timing.reask_period_ms);
    } else {
        job->state = WORKRS_KEPT;
        plan(job, now + c->json_retry_ms);
    }
    tell(c, job, text, count);
    return 0;
}

static workrs_error heard_state(workrs_client *c, workrs_job *job, uint8_t state,
                                const char *text, uint32_t count, uint32_t now) {
    int retained = c->rx_first & RETAIN;
    int quorum = state != WORKRS_WAITING && !(c->json_flags & J_NO_QUORUM);
    if (!retained) {
        node_answered(c);
        no_longer_asked(c, job, now);
    }
    if (state == WORKRS_WAITING) {
        if (retained || (job->flags & ENDED)) return WORKRS_OK;
        plan(job, now + c->config->timing.reask_period_ms);
        if (!(job->flags & ACCEPTED)) {
            job->state = state;
            tell(c, job, text, count);
        }
        return weigh(c, quorum, now);
    }
    if (!retained) job->flags |= ANSWERED;
    if (state == WORKRS_REJECTED) {
        if (retained || (job->flags & ENDED) || !is_refused(c, job, text, count, now))
            return WORKRS_OK;
    } else {
        job->flags |= ACCEPTED;
    }
    if (workrs_is_final((workrs_state)state))
        heard_final(c, job, state, text, count, now);
    else if (!(job->flags & ENDED))
        heard_open(c, job, state, text, count, now);
    return retained ? WORKRS_OK : weigh(c, quorum, now);
}

/* --- JSON: three fields of the outermost object, whatever else it holds, byte by byte. */

static void json_begin(workrs_client *c) {
    c->json_depth = c->json_flags = c->json_field = c->json_word_bytes = 0;
    c->json_state = WORKRS_KEPT;
    c->json_retry_ms = 0;
}

static void json_append(workrs_client *c, char byte) {
    if (c->json_word_bytes < sizeof c->json_word) c->json_word[c->json_word_bytes++] = byte;
}

static uint8_t json_name(const workrs_client *c) {
    if (is_equal("state", c->json_word, c->json_word_bytes)) return J_STATE;
    if (is_equal("quorum", c->json_word, c->json_word_bytes)) return J_QUORUM;
    if (is_equal("retry_after_s", c->json_word, c->json_word_bytes)) return J_RETRY;
    return J_OTHER;
}

static void json_string_ended(workrs_client *c) {
    if (c->json_flags & J_KEY)
        c->json_field = json_name(c);
    else if (c->json_field == J_STATE)
        c->json_state = parse_word(c->json_word, c->json_word_bytes);
    c->json_word_bytes = 0;
}

/* The milliseconds of a number of seconds, at least 1 s of one above 0 and at most an hour. */
static uint32_t parse_seconds(const char *text, uint32_t count) {
    uint32_t seconds = 0, i = 0;
    for (; i < count && text[i] >= '0' && text[i] <= '9' && seconds < 3600; i++)
        seconds = seconds * 10 + (uint32_t)(text[i] - '0');
    if (seconds == 0 && i > 0 && i < count) seconds = 1; /* 0.5 */
    return seconds < 3600 ? seconds * 1000 : TIME_MAX_MS;
}

/* A number or word that was no string has ended. */
static void json_scalar_ended(workrs_client *c) {
    if (c->json_field == J_QUORUM && is_equal("false", c->json_word, c->json_word_bytes))
        c->json_flags |= J_NO_QUORUM;
    if (c->json_field == J_RETRY) c->json_retry_ms = parse_seconds(c->json_word, c->json_word_bytes);
    c->json_word_bytes = 0;
}

static void json_in_string(workrs_client *c, char byte) {
    if (c->json_flags & J_ESCAPED) {
        c->json_flags &= (uint8_t)~J_ESCAPED;
        if (c->json_depth == 1) json_append(c, '\\'); /* no word of ours has an escape */
    } else if (byte == '\\') {
        c->json_flags |= J_ESCAPED;
    } else if (byte == '"') {
        c->json_flags &= (uint8_t)~J_STRING;
        if (c->json_depth == 1) json_string_ended(c);
    } else if (c->json_depth == 1) {
        json_append(c, byte);
    }
}

static void json_next(workrs_client *c, char byte) {
    if (c->json_flags & J_JUNK) return;
    if (c->json_flags & J_STRING) {
        json_in_string(c, byte);
    } else if (byte == '{' || byte == '[') {
        /* Only an object begins, only once, and none of ours is a hundred deep. */
        if (c->json_depth == 0 && (byte == '[' || (c->json_flags & J_BEGUN)))
            c->json_flags |= J_JUNK;
        if (c->json_depth++ == 0) c->json_flags |= J_BEGUN | J_KEY;
        if (c->json_depth > 100) c->json_flags |= J_JUNK;
    } else if (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r') {
        return;
    } else if (c->json_depth == 0) {
        c->json_flags |= J_JUNK;
    } else if (byte == '}' || byte == ']') {
        if (c->json_depth == 1) json_scalar_ended(c);
        c->json_depth--;
    } else if (byte == '"') {
        c->json_flags |= J_STRING;
    } else if (c->json_depth == 1 && byte == ':') {
        c->json_flags &= (uint8_t)~J_KEY;
        c->json_word_bytes = 0;
    } else if (c->json_depth == 1 && byte == ',') {
        json_scalar_ended(c);
        c->json_flags |= J_KEY;
        c->json_field = J_OTHER;
    } else if (c->json_depth == 1) {
        json_append(c, byte);
    }
}

/* --- Packets that come. */

/* Receive up to *want* bytes: how many came, 0 for none, or an error. */
static int32_t take(workrs_client *c, uint8_t *to, uint32_t want) {
    int32_t count = c->config->recv(c->config->context, to, want);
    if (count < 0) return WORKRS_E_CLOSED;
    if ((uint32_t)count > want) return WORKRS_E_PROTOCOL;
    return count;
}

static void packet_ended(workrs_client *c) {
    c->rx_stage = TYPE;
    c->rx_job = NULL;
}

static workrs_error connected(workrs_client *c, uint32_t now) {
    const workrs_timing *timing = &c->config->timing;
    if (c->rx_head[1] != 0) {
        c->refusal = c->rx_head[1];
        return WORKRS_E_REFUSED;
    }
    c->phase = READY;
    c->sent_ms = c->began_ms = now;
    for (workrs_job *job = c->jobs; job != NULL; job = job->next) {
        job->flags |= SUBSCRIBE;
        if (job->flags & ENDED)
            plan(job, now + timing->out_grace_ms);
        else if (!(job->flags & ACCEPTED))
            job->flags |= SUBMIT;
        else /* without its input, subscribing was the question */
            plan(job, now + (job->input != NULL ? timing->snapshot_grace_ms : timing->reask_period_ms));
    }
    return WORKRS_OK;
}

static workrs_error heard_packet(workrs_client *c, uint32_t now) {
    uint8_t type = c->rx_first, code = c->rx_head[2];
    packet_ended(c);
    if (type == CONNACK) return connected(c, now);
    if (type != SUBACK || code <= 2) return WORKRS_OK;
    return code == 0x80 ? WORKRS_E_DENIED : WORKRS_E_PROTOCOL;
}

/* The length is known: what follows, and is it as long as it must be? */
static workrs_error begin_body(workrs_client *c, uint32_t now) {
    uint32_t body = 2;
    c->rx_at = 0;
    if ((c->phase == CONNECTING) != (c->rx_first == CONNACK)) return WORKRS_E_PROTOCOL;
    if ((c->rx_first & 0xf0) == PUBLISH) {
        if ((c->rx_first & 0x06) > QOS_1 || c->rx_left > PACKET_MAX) return WORKRS_E_PROTOCOL;
        c->rx_stage = TOPIC_LENGTH;
        return c->rx_left >= 3 ? WORKRS_OK : WORKRS_E_PROTOCOL;
    }
    switch (c->rx_first) {
    case SUBACK: body = 3; break; /* one subscription a packet */
    case PINGRESP: body = 0; break;
    case CONNACK: case PUBACK: case UNSUBACK: break;
    default: return WORKRS_E_PROTOCOL;
    }
    if (c->rx_left != body) return WORKRS_E_PROTOCOL;
    c->rx_stage = BODY;
    return body ? WORKRS_OK : heard_packet(c, now);
}

/* Whose topic is it, and is it to be believed? */
static void parse_topic(workrs_client *c) {
    const char *topic = (const char *)c->config->rx;
    uint32_t at = length(ROOT_DOWN), count = c->rx_topic_bytes, end, device = length(c->config->device);
    c->rx_kind = NOT_OURS;
    if (count > c->config->rx_bytes || count < at + device + 2) return;
    if (!is_equal(ROOT_DOWN, topic, at)) return;
    if (!is_equal(c->config->device, topic + at, device) || topic[at + device] != '/') return;
    at += device + 1;
    for (end = at; end < count && topic[end] != '/';) end++;
    for (workrs_job *job = c->jobs; job != NULL && c->rx_job == NULL; job = job->next)
        if (is_equal(job->id, topic + at, end - at)) c->rx_job = job;
    if (c->rx_job == NULL) return;
    if ((c->rx_first & RETAIN) && !(c->rx_job->flags & ANSWERED)) return;
    if (end == count) c->rx_kind = JSON;
    else if (is_equal("/state", topic + end, count - end)) c->rx_kind = STATE;
    else if (is_equal("/out", topic + end, count - end)) c->rx_kind = OUT;
}

static void begin_payload(workrs_client *c) {
    c->rx_stage = PAYLOAD;
    c->rx_total = c->rx_left;
    c->rx_at = 0;
    json_begin(c);
}

static workrs_error heard_word(workrs_client *c, workrs_job *job, uint32_t now) {
    const char *text = (const char *)c->config->rx;
    uint32_t count = c->rx_at, word = 0, after = sizeof RETRY_AFTER - 1;
    while (count > 0 && (uint8_t)text[count - 1] <= ' ') count--;
    while (word < count && text[word] != ' ') word++;
    uint8_t state = parse_word(text, word);
    while (word < count && text[word] == ' ') word++;
    if (state == WORKRS_KEPT) return WORKRS_OK;
    if (state == WORKRS_REJECTED && count - word > after && is_equal(RETRY_AFTER, text + word, after)) {
        uint32_t digits = word += after;
        while (word < count && text[word] != ' ') word++;
        c->json_retry_ms = parse_seconds(text + digits, word - digits);
        while (word < count && text[word] == ' ') word++;
    }
    return heard_state(c, job, state, text + word, count - word, now);
}

static workrs_error heard_message(workrs_client *c, uint32_t now) {
    workrs_job *job = c->rx_job;
    uint8_t kind = job != NULL ? c->rx_kind : (uint8_t)NOT_OURS;
    workrs_error error = WORKRS_OK;
    c->tx_at = c->tx_end = 0;
    if ((c->rx_first & QOS_1) && begin_packet(c, PUBACK, 2, 0)) {
        put(c, (unsigned)c->rx_id >> 8);
        put(c, c->rx_id & 0xffu);
    }
    if (kind == OUT) {
        if (c->rx_total == 0 && job->function != NULL && c->config->on_bytes != NULL)
            c->config->on_bytes(c->config->context, job, c->config->rx, 0, 0, 0);
        if (c->rx_job != NULL) heard_out(c, job);
    } else if (kind == STATE) {
        error = heard_word(c, job, now);
    } else if (kind == JSON) {
        int whole = c->json_depth == 0 && !(c->json_flags & (J_JUNK | J_STRING));
        if (whole && c->json_state != WORKRS_KEPT)
            error = heard_state(c, job, c->json_state, "", 0, now);
    }
    packet_ended(c);
    return error;
}

static int32_t read_payload(workrs_client *c) {
    const workrs_config *config = c->config;
    uint8_t passed_over[16], *to = config->rx;
    uint32_t room = config->rx_bytes;
    if (c->rx_kind == STATE) {
        to += c->rx_at;
        room -= c->rx_at;
        if (room == 0) { /* a text too long is cut */
            to = passed_over;
            room = sizeof passed_over;
        }
    }
    int32_t count = take(c, to, c->rx_left < room ? c->rx_left : room);
    if (count <= 0) return count;
    uint32_t got = (uint32_t)count, offset = c->rx_total - c->rx_left;
    c->rx_left -= got;
    if (c->rx_kind == STATE && to != passed_over) c->rx_at = (uint16_t)(c->rx_at + got);
    if (c->rx_kind == JSON)
        for (uint32_t i = 0; i < got; i++) json_next(c, (char)to[i]);
    if (c->rx_job != NULL && c->rx_kind == (c->rx_job->function != NULL ? OUT : JSON)
        && config->on_bytes != NULL)
        config->on_bytes(config->context, c->rx_job, to, got, offset, c->rx_total);
    return count;
}

/* Fill the field of *want* bytes in rx_head, or, for a topic, in rx. */
static int32_t read_field(workrs_client *c, uint32_t want) {
    uint8_t passed_over[16], *to = c->rx_head + (c->rx_at < 3 ? c->rx_at : 0);
    uint32_t room = want - c->rx_at;
    if (c->rx_stage == TOPIC && want <= c->config->rx_bytes) {
        to = c->config->rx + c->rx_at;
    } else if (c->rx_stage == TOPIC) { /* too long to be ours */
        to = passed_over;
        if (room > sizeof passed_over) room = sizeof passed_over;
    }
    int32_t count = take(c, to, room);
    if (count <= 0) return count;
    c->rx_at = (uint16_t)(c->rx_at + count);
    c->rx_left -= (uint32_t)count;
    return count;
}

static workrs_error read_length(workrs_client *c, uint8_t digit, uint32_t now) {
    c->rx_left |= (uint32_t)(digit & 0x7f) << c->rx_shift;
    c->rx_shift = (uint8_t)(c->rx_shift + 7);
    if (!(digit & 0x80)) return begin_body(c, now);
    return c->rx_shift < 28 ? WORKRS_OK : WORKRS_E_PROTOCOL;
}

/* A field is complete. */
static workrs_error heard_field(workrs_client *c, uint32_t now) {
    uint16_t number = (uint16_t)(((unsigned)c->rx_head[0] << 8) | c->rx_head[1]);
    uint32_t id_bytes = (c->rx_first & QOS_1) ? 2 : 0;
    c->rx_at = 0;
    switch (c->rx_stage) {
    case BODY: return heard_packet(c, now);
    case TOPIC_LENGTH:
        c->rx_topic_bytes = number;
        c->rx_stage = TOPIC;
        return number > 0 && number + id_bytes <= c->rx_left ? WORKRS_OK : WORKRS_E_PROTOCOL;
    case TOPIC:
        parse_topic(c);
        c->rx_stage = ID;
        if (id_bytes) return WORKRS_OK;
        break;
    default:
        if (number == 0) return WORKRS_E_PROTOCOL;
        c->rx_id = number;
        break;
    }
    begin_payload(c);
    return c->rx_left ? WORKRS_OK : heard_message(c, now);
}

/* Read what the present field still lacks: above 0 for progress, 0 for none, or an error. */
static int32_t read_some(workrs_client *c, uint32_t now) {
    static const uint8_t FIELD_BYTES[] = {0, 0, 0, 2, 0, 2, 0};
    uint8_t byte = 0;
    int32_t count;
    workrs_error error = WORKRS_OK;
    if (c->rx_stage == TYPE || c->rx_stage == LENGTH) {
        count = take(c, &byte, 1);
        if (count <= 0) return count;
        if (c->rx_stage == LENGTH) {
            error = read_length(c, byte, now);
        } else {
            c->rx_first = byte;
            c->rx_left = 0;
            c->rx_shift = 0;
            c->rx_stage = LENGTH;
        }
    } else if (c->rx_stage == PAYLOAD) {
        count = read_payload(c);
        if (count > 0 && c->rx_left == 0) error = heard_message(c, now);
    } else {
        uint32_t want = FIELD_BYTES[c->rx_stage];
        if (c->rx_stage == BODY) want = c->rx_left + c->rx_at;
        if (c->rx_stage == TOPIC) want = c->rx_topic_bytes;
        count = read_field(c, want);
        if (count > 0 && c->rx_at == want) error = heard_field(c, now);
    }
    if (count > 0) {
        c->heard_ms = now;
        c->is_pinged = 0;
    }
    return error != WORKRS_OK ? (int32_t)error : count;
}

static int32_t send_some(workrs_client *c, uint32_t now) {
    const workrs_config *config = c->config;
    int is_head = c->tx_at < c->tx_end;
    const uint8_t *from = is_head ? config->tx + c->tx_at : c->tx_input;
    uint32_t want = is_head ? (uint32_t)c->tx_end - c->tx_at : c->tx_input_left;
    int32_t count = config->send(config->context, from, want);
    if (count < 0) return WORKRS_E_CLOSED;
    if ((uint32_t)count > want) return WORKRS_E_PROTOCOL;
    if (count == 0) return 0;
    c->sent_ms = now;
    if (is_head) {
        c->tx_at = (uint16_t)(c->tx_at + count);
    } else {
        c->tx_input += count;
        c->tx_input_left -= (uint32_t)count;
    }
    if (is_sending(c)) return count;
    c->tx_at = c->tx_end = 0;
    if (c->tx_job != NULL) {
        workrs_job *job = c->tx_job;
        c->tx_job = NULL;
        sent_job(c, job, now);
    }
    return count;
}

/* --- Time. */

static workrs_error check_time(const workrs_client *c, uint32_t now) {
    const workrs_timing *timing = &c->config->timing;
    if (c->phase == CONNECTING)
        return now - c->began_ms >= timing->connect_timeout_ms ? WORKRS_E_CONNECT : WORKRS_OK;
    if (is_sending(c)) /* It takes nothing more, so it cannot be asked either. */
        return now - c->sent_ms >= timing->keepalive_ms + timing->pong_timeout_ms
                   ? WORKRS_E_SILENT : WORKRS_OK;
    if (c->is_pinged && now - c->pinged_ms >= timing->pong_timeout_ms) return WORKRS_E_SILENT;
    if (c->asked && now - c->silent_ms >= timing->answer_timeout_ms) return WORKRS_E_NO_ANSWER;
    return WORKRS_OK;
}

static uint32_t sooner(uint32_t wait, uint32_t at_ms, uint32_t now) {
    uint32_t left = left_ms(at_ms, now);
    return left < wait ? left : wait;
}

uint32_t workrs_wait_ms(const workrs_client *client) {
    const workrs_client *c = client;
    const workrs_timing *timing = &c->config->timing;
    uint32_t now = now_ms(c), wait = NEVER;
    if (c->phase == CLOSED) return left_ms(c->not_before_ms, now);
    if (c->is_busy) return 0;
    if (c->phase == CONNECTING) return left_ms(c->began_ms + timing->connect_timeout_ms, now);
    if (is_sending(c))
        return left_ms(c->sent_ms + timing->keepalive_ms + timing->pong_timeout_ms, now);
    if (c->asked) wait = sooner(wait, c->silent_ms + timing->answer_timeout_ms, now);
    if (c->is_pinged) {
        wait = sooner(wait, c->pinged_ms + timing->pong_timeout_ms, now);
    } else {
        wait = sooner(wait, c->heard_ms + timing->keepalive_ms, now);
        wait = sooner(wait, c->sent_ms + timing->keepalive_ms, now);
    }
    for (const workrs_job *job = c->jobs; job != NULL; job = job->next) {
        if (job->flags & DUE) wait = sooner(wait, job->due_ms, now);
        if ((job->flags & (SUBSCRIBE | CANCEL_NOW)) ||
            ((job->flags & SUBMIT) && c->asked < WINDOW))
            return 0;
    }
    return wait;
}

/* --- What the caller asks for. */

static int is_time(uint32_t ms) { return ms > 0 && ms <= TIME_MAX_MS; }

static int are_times(const workrs_timing *timing) {
    return is_time(timing->connect_timeout_ms) && is_time(timing->answer_timeout_ms)
        && is_time(timing->keepalive_ms) && is_time(timing->pong_timeout_ms)
        && is_time(timing->reask_period_ms) && is_time(timing->snapshot_grace_ms)
        && is_time(timing->out_grace_ms) && is_time(timing->backoff_min_ms)
        && is_time(timing->backoff_max_ms) && timing->backoff_min_ms <= timing->backoff_max_ms;
}

workrs_error workrs_init(workrs_client *client, const workrs_config *config, uint32_t seed) {
    uint8_t *bytes = (uint8_t *)client;
    if (!is_name(config->device, 0)) return WORKRS_E_NAME;
    if (!config->send || !config->recv || !config->clock_ms || !config->on_state
        || !config->nodes || !config->rx || !config->tx)
        return WORKRS_E_CONFIG;
    if (!are_times(&config->timing)) return WORKRS_E_CONFIG;
    if (connect_bytes(config) + 4 > config->tx_bytes || config->rx_bytes == 0) return WORKRS_E_BUFFER;
    for (size_t i = 0; i < sizeof *client; i++) bytes[i] = 0;
    client->config = config;
    client->random = seed;
    for (const char *c = config->device; *c != '\0'; c++)
        client->random = (client->random ^ (uint8_t)*c) * 16777619u;
    if (client->random == 0) client->random = 1;
    client->not_before_ms = now_ms(client);
    return WORKRS_OK;
}

uint8_t workrs_node(const workrs_client *client) { return client->node; }

void workrs_unreachable(workrs_client *client) {
    if (client->phase == CLOSED) node_failed(client, now_ms(client));
}

workrs_error workrs_begin(workrs_client *client) {
    uint32_t now = now_ms(client);
    if (client->phase != CLOSED) return WORKRS_E_BUSY;
    client->phase = CONNECTING;
    client->began_ms = client->heard_ms = client->sent_ms = now;
    client->is_pinged = 0;
    client->refusal = 0;
    packet_ended(client);
    put_connect(client);
    return WORKRS_OK;
}

workrs_error workrs_poll(workrs_client *client) {
    workrs_client *c = client;
    uint32_t now;
    int32_t done = 1;
    if (c->phase == CLOSED) return WORKRS_E_OFFLINE;
    now = now_ms(c);
    for (int step = 0; step < STEPS_MAX && done > 0; step++) {
        if (is_sending(c)) done = send_some(c, now);
        else if (c->phase == READY && say(c, now)) continue;
        else done = read_some(c, now);
        if (c->phase == CLOSED) return WORKRS_E_OFFLINE; /* a callback said goodbye */
        if (done < 0) return lose(c, (workrs_error)done, now);
    }
    c->is_busy = done > 0;
    workrs_error late = check_time(c, now);
    return late != WORKRS_OK ? lose(c, late, now) : WORKRS_OK;
}

int workrs_is_ready(const workrs_client *client) { return client->phase == READY; }

int workrs_wants_write(const workrs_client *client) { return is_sending(client); }

void workrs_end(workrs_client *client) {
    static const uint8_t GOODBYE[] = {DISCONNECT, 0};
    if (client->phase == READY && !is_sending(client))
        (void)client->config->send(client->config->context, GOODBYE, sizeof GOODBYE);
    if (client->phase != CLOSED) {
        uint8_t node = client->node, tried = client->tried;
        uint32_t now = now_ms(client);
        (void)lose(client, WORKRS_OK, now);
        client->node = node; /* it did nothing wrong */
        client->tried = tried;
        client->not_before_ms = now;
    }
}

static workrs_error keep(workrs_client *c, workrs_job *job, const void *bytes, uint32_t count) {
    const char *device = c->config->device;
    uint32_t id = length(job->id), up = length(ROOT_UP) + length(device) + id;
    uint32_t down = length(ROOT_DOWN) + length(device) + id;
    up += job->function != NULL ? 6 + length(job->function) : 8;
    /* Four bytes of header, four of counts, a PUBACK before a farewell to the topic. */
    if (up + 8 > c->config->tx_bytes || down + 4 + 11 > c->config->tx_bytes) return WORKRS_E_BUFFER;
    if (down + 7 > c->config->rx_bytes) return WORKRS_E_BUFFER;
    job->input = bytes != NULL ? (const uint8_t *)bytes : (const uint8_t *)"";
    job->input_bytes = bytes != NULL ? count : 0;
    job->flags = c->phase == READY ? SUBSCRIBE | SUBMIT : 0;
    job->state = WORKRS_KEPT;
    job->cancels = 0;
    /* At the end: jobs are asked for in the order they were given. */
    workrs_job **place = &c->jobs;
    while (*place != NULL) place = &(*place)->next;
    job->next = NULL;
    *place = job;
    return WORKRS_OK;
}

static int is_taken(workrs_client *c, const workrs_job *job, const char *id) {
    for (const workrs_job *each = c->jobs; each != NULL; each = each->next)
        if (each == job || is_equal(each->id, id, length(id))) return 1;
    return 0;
}

workrs_error workrs_run(workrs_client *client, workrs_job *job, const char *function,
                        const char *id, const void *bytes, uint32_t count) {
    if (!is_name(function, 0) || !is_name(id, 1)) return WORKRS_E_NAME;
    if (count > WORKRS_INPUT_MAX) return WORKRS_E_SIZE;
    if (is_taken(client, job, id)) return WORKRS_E_BUSY;
    job->id = id;
    job->function = function;
    return keep(client, job, bytes, count);
}

workrs_error workrs_submit(workrs_client *client, workrs_job *job, const char *id,
                           const void *spec, uint32_t count) {
    if (!is_name(id, 1)) return WORKRS_E_NAME;
    if (count > WORKRS_SPEC_MAX) return WORKRS_E_SIZE;
    if (is_taken(client, job, id)) return WORKRS_E_BUSY;
    job->id = id;
    job->function = NULL;
    return keep(client, job, spec, count);
}

workrs_error workrs_cancel(workrs_client *client, workrs_job *job) {
    if (find(client, job) == NULL) return WORKRS_E_UNKNOWN;
    job->flags |= CANCEL;
    job->cancels = 0;
    if (client->phase == READY && (job->flags & ACCEPTED) && !(job->flags & ENDED))
        job->flags |= CANCEL_NOW;
    return WORKRS_OK;
}

workrs_error workrs_release(workrs_client *client, workrs_job *job) {
    if (find(client, job) == NULL) return WORKRS_E_UNKNOWN;
    if (client->tx_job == job || !(job->flags & ACCEPTED)) return WORKRS_E_BUSY;
    job->input = NULL;
    return WORKRS_OK;
}

workrs_error workrs_forget(workrs_client *client, workrs_job *job) {
    if (find(client, job) == NULL) return WORKRS_E_UNKNOWN;
    if (client->tx_job == job) return WORKRS_E_BUSY;
    unlist(client, job);
    return WORKRS_OK;
}

int workrs_is_final(workrs_state state) { return state >= WORKRS_SUCCEEDED; }

const char *workrs_word(workrs_state state) {
    return (unsigned)state < WORD_COUNT ? WORDS[state] : "?";
}

const char *workrs_strerror(workrs_error error) {
    static const char *const TEXTS[] = {
        "all is well", "the connection ended", "no answer to the connect",
        "no sign of life after a ping", "the broker refuses the device",
        "the broker refuses the device its own topics", "the broker's bytes are not understood",
        "nobody answers a submission", "the node reaches no majority", "there is no connection",
        "a name or id is not allowed", "a buffer is too small", "the input is too large",
        "the job is open or being sent", "the configuration is incomplete", "the job is not open"};
    unsigned index = 0u - (unsigned)error;
    return index < sizeof TEXTS / sizeof *TEXTS ? TEXTS[index] : "?";
}
