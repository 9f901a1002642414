/* A program for a Cortex-M0 that has the client and nothing else: what the linker keeps is
 * what a device pays. No C library, no start-up code. */
#include "workrs.h"

workrs_client the_client;
workrs_job the_job;
static uint8_t rx[128], tx[128];

static int32_t port_send(void *context, const uint8_t *bytes, uint32_t count) {
    return (void)context, (void)bytes, (int32_t)count;
}
static int32_t port_recv(void *context, uint8_t *bytes, uint32_t count) {
    return (void)context, (void)bytes, (void)count, 0;
}
static uint32_t port_clock_ms(void *context) { return (void)context, 0; }
static void on_state(void *context, workrs_job *job, const char *text, uint32_t count) {
    (void)context, (void)job, (void)text, (void)count;
}

static const workrs_config config = {
    .device = "pump-7", .nodes = 2, .rx = rx, .rx_bytes = sizeof rx, .tx = tx,
    .tx_bytes = sizeof tx, .send = port_send, .recv = port_recv, .clock_ms = port_clock_ms,
    .on_state = on_state, .timing = WORKRS_TIMING};

void _start(void);
void _start(void) {
    (void)workrs_init(&the_client, &config, 1);
    (void)workrs_run(&the_client, &the_job, "mean", "j1", "1 2 3", 5);
    (void)workrs_submit(&the_client, &the_job, "j1", "{}", 2);
    (void)workrs_begin(&the_client);
    while (workrs_poll(&the_client) == WORKRS_OK && !workrs_wants_write(&the_client) &&
           workrs_wait_ms(&the_client) && !workrs_is_final((workrs_state)the_job.state)) {
        (void)workrs_cancel(&the_client, &the_job);
        (void)workrs_release(&the_client, &the_job);
    }
    if (*workrs_strerror(WORKRS_E_CLOSED) == *workrs_word(WORKRS_KEPT) + workrs_node(&the_client))
        workrs_unreachable(&the_client);
    (void)workrs_forget(&the_client, &the_job);
    workrs_end(&the_client);
}
