/* Workrs for devices in C99: MQTT 3.1.1 at QoS 1, no malloc, no stdio, no C library.
 *
 * The caller opens sockets, reads a clock and lends buffers; this decides what is said, when
 * it is repeated, and when a node is left for the next. docs/c.md tells how to port it,
 * docs/protocol.md what is on the wire. One thread at a time.
 *
 * 1. A job is sent again on every connection, and every `answer_timeout_ms`, until a node was
 *    heard to accept or refuse it.
 * 2. The end of a job is told once; whatever comes after changes nothing.
 * 3. Before a node has answered this submission, retained messages about its id are not
 *    believed: they may be of an older job of the same id.
 * 4. A node is left that is silent after a ping, that answers no submission, or that reaches
 *    no majority of nodes while others were not tried.
 * 5. No byte is written outside the buffers lent, and a poll ends after a bounded amount of
 *    work, whatever the other end sends.
 *
 * Not promised: that a job outlives the device's memory. Submit it again under the same id
 * with the same bytes after a reset, and it is the same job.
 */
#ifndef WORKRS_H
#define WORKRS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Longest name of a device or function, and longest job id. */
#define WORKRS_NAME_MAX 63u
/* Most bytes of input that `workrs_run` takes, and of a spec that `workrs_submit` takes. */
#define WORKRS_INPUT_MAX 32768u
#define WORKRS_SPEC_MAX 98304u

typedef enum workrs_error {
    WORKRS_OK = 0,
    /* The connection is over: close it and open one to `workrs_node`. */
    WORKRS_E_CLOSED = -1,      /* the other end, or the port's send or recv, ended it */
    WORKRS_E_CONNECT = -2,     /* no answer to the connect in time */
    WORKRS_E_SILENT = -3,      /* no sign of life after a ping */
    WORKRS_E_REFUSED = -4,     /* the broker refuses the device; `refusal` is MQTT's code */
    WORKRS_E_DENIED = -5,      /* the broker refuses the device its own topics */
    WORKRS_E_PROTOCOL = -6,    /* what came is no MQTT 3.1.1, or not what was asked for */
    WORKRS_E_NO_ANSWER = -7,   /* the node's broker lives, and nobody answers a submission */
    WORKRS_E_NO_MAJORITY = -8, /* the node reaches no majority of nodes */
    /* The call was wrong, and changed nothing. */
    WORKRS_E_OFFLINE = -9,  /* there is no connection: call `workrs_begin` first */
    WORKRS_E_NAME = -10,    /* a name or id is not 1 to 63 of the characters allowed */
    WORKRS_E_BUFFER = -11,  /* a buffer is too small for these names */
    WORKRS_E_SIZE = -12,    /* the input or spec is too large for a message */
    WORKRS_E_BUSY = -13,    /* the job, or another of its id, is open; or its input is being sent */
    WORKRS_E_CONFIG = -14,  /* a callback or buffer is missing, nodes are, or a time is 0 or too long */
    WORKRS_E_UNKNOWN = -15  /* the job is not open */
} workrs_error;

typedef enum workrs_state {
    WORKRS_KEPT,     /* no node has said anything yet, or none has room */
    WORKRS_WAITING,  /* a node keeps it and reaches no majority: not accepted */
    WORKRS_ACCEPTED, /* on the disks of a majority of nodes: it will not be lost */
    WORKRS_QUEUED,
    WORKRS_RUNNING,
    WORKRS_SUCCEEDED, /* this and all that follow are final */
    WORKRS_FAILED,
    WORKRS_CANCELLED,
    WORKRS_EXPIRED,
    WORKRS_REJECTED
} workrs_state;

/* A job that has not ended. The caller's memory; it, the id, the function's name and the input
 * stay where they are until the end was told, the input alone perhaps shorter: see
 * `workrs_release`. All but `user` is read only. */
typedef struct workrs_job {
    struct workrs_job *next;
    const char *id;
    const char *function; /* NULL: the input is a spec */
    const uint8_t *input; /* NULL: released */
    void *user;           /* the caller's; never looked at */
    uint32_t input_bytes;
    uint32_t due_ms;
    uint16_t flags;
    uint8_t cancels;
    uint8_t state; /* a workrs_state */
} workrs_job;

/* How long to wait for what. None is 0 or above an hour. */
typedef struct workrs_timing {
    uint32_t connect_timeout_ms;
    uint32_t answer_timeout_ms;  /* a submission without an answer for so long: the node is left */
    uint32_t keepalive_ms;       /* after so much silence the node is asked for a sign of life */
    uint32_t pong_timeout_ms;    /* without one for so long it is left */
    uint32_t reask_period_ms;    /* an accepted job that was silent for so long is asked about */
    uint32_t snapshot_grace_ms;  /* retained states come by themselves; only then is asked */
    uint32_t out_grace_ms;       /* a job that succeeded without a result is believed after this */
    uint32_t backoff_min_ms;     /* pause after a whole round of nodes failed; doubles … */
    uint32_t backoff_max_ms;     /* … up to this */
} workrs_timing;

/* The same times as the Python client's. */
#define WORKRS_TIMING {2000, 3000, 2000, 1500, 10000, 300, 2000, 200, 2000}

/* What a device is and brings along. May be in read-only memory; stays where it is. */
typedef struct workrs_config {
    const char *device;   /* its name, and client id on the bus: a-z 0-9 . - */
    const char *username; /* NULL: the name */
    const char *password; /* NULL: none */
    uint8_t nodes;        /* how many nodes the caller's list has */
    uint8_t *rx;          /* holds one topic, then a state's text, which is cut to fit */
    uint8_t *tx;          /* holds all of a packet but the input, which is sent from its place */
    uint16_t rx_bytes;
    uint16_t tx_bytes;
    void *context; /* handed to every callback */
    /* Both return at once: how many bytes were moved; 0: none now; below 0: the connection is over. */
    int32_t (*send)(void *context, const uint8_t *bytes, uint32_t count);
    int32_t (*recv)(void *context, uint8_t *bytes, uint32_t count);
    /* Milliseconds since whenever, at a steady rate; wraps around after 2^32. */
    uint32_t (*clock_ms)(void *context);
    /* A job's state was heard: `job->state`. *text* is what a node says beside it: progress,
     * note, reason, or the address of a large result; not terminated, perhaps cut, empty for a
     * spec. After a final state the job is the caller's again, and may be used anew here. */
    void (*on_state)(void *context, workrs_job *job, const char *text, uint32_t count);
    /* Bytes of a result as they arrive, from *offset* of *total*. They count when the job has
     * *succeeded*; until then they may come again from offset 0. For a spec, the JSON of every
     * state that is heard. NULL: not wanted. */
    void (*on_bytes)(void *context, workrs_job *job, const uint8_t *bytes, uint32_t count,
                     uint32_t offset, uint32_t total);
    workrs_timing timing;
} workrs_config;

/* One device. The caller's memory; only `refusal` is to be read but by the functions below. */
typedef struct workrs_client {
    const workrs_config *config;
    workrs_job *jobs;
    /* The packet that is being sent: from tx, then the input of tx_job. */
    workrs_job *tx_job;
    const uint8_t *tx_input;
    uint32_t tx_input_left;
    uint16_t tx_at, tx_end;
    /* The packet that is being read. */
    workrs_job *rx_job;
    uint32_t rx_left, rx_total;
    uint16_t rx_at, rx_topic_bytes, rx_id;
    uint8_t rx_stage, rx_first, rx_shift, rx_kind, rx_head[3];
    /* The JSON that is being read. */
    uint8_t json_depth, json_flags, json_field, json_state, json_word_bytes;
    char json_word[14];
    uint32_t json_retry_ms;
    /* The connection. */
    uint32_t began_ms, heard_ms, sent_ms, pinged_ms, silent_ms;
    uint16_t packet_id, asked;
    uint8_t phase, is_pinged, is_busy;
    uint8_t refusal; /* MQTT's return code, after WORKRS_E_REFUSED */
    /* The list of nodes. */
    uint32_t not_before_ms, pause_ms, random;
    uint8_t node, tried, left;
} workrs_client;

/* Make a client without a connection. *seed* should differ between devices and resets: devices
 * that lost a node together come back apart by it. */
workrs_error workrs_init(workrs_client *client, const workrs_config *config, uint32_t seed);

/* Return which node of the caller's list to connect to, from 0, after `workrs_wait_ms`. */
uint8_t workrs_node(const workrs_client *client);
/* Note that no connection to this node could be opened: the next one's turn. */
void workrs_unreachable(workrs_client *client);
/* Note that a connection to this node was opened, or is being opened. */
workrs_error workrs_begin(workrs_client *client);
/* Send, read and look at the time. Anything but WORKRS_OK: the connection is over. */
workrs_error workrs_poll(workrs_client *client);
/* Return whether a node has taken the connection. */
int workrs_is_ready(const workrs_client *client);
/* Return whether bytes wait to be sent. While they do nothing is read. */
int workrs_wants_write(const workrs_client *client);
/* Return how long nothing is to be done unless bytes come: without a connection, until one may
 * be opened. */
uint32_t workrs_wait_ms(const workrs_client *client);
/* Say goodbye if there is room for two bytes. The connection is over; jobs stay. */
void workrs_end(workrs_client *client);

/* Keep a job: *bytes* as the input of a registered function. */
workrs_error workrs_run(workrs_client *client, workrs_job *job, const char *function,
                        const char *id, const void *bytes, uint32_t count);
/* Keep a job: its spec as JSON. */
workrs_error workrs_submit(workrs_client *client, workrs_job *job, const char *id,
                           const void *spec, uint32_t count);
/* Ask for the job's end, until a final state is heard. It may still succeed. */
workrs_error workrs_cancel(workrs_client *client, workrs_job *job);
/* Give the input's memory back once the job is accepted. The price: a node that hangs behind
 * a broker that answers is then not noticed by asking about this job. */
workrs_error workrs_release(workrs_client *client, workrs_job *job);
/* Listen to the job no more. It goes on. */
workrs_error workrs_forget(workrs_client *client, workrs_job *job);

int workrs_is_final(workrs_state state);
/* Return the nodes' word for a state. */
const char *workrs_word(workrs_state state);
/* Return a sentence for humans. */
const char *workrs_strerror(workrs_error error);

#ifdef __cplusplus
}
#endif
#endif
