/* A whole device on POSIX sockets: has a function run on some bytes and prints the result.
 * Exit codes: 0 succeeded, 1 it ended otherwise, 2 wrong arguments. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "workrs.h"

static int line = -1; /* the socket, or none */
static uint8_t result[WORKRS_INPUT_MAX];
static uint32_t result_bytes;

static int32_t moved(ssize_t count) {
    return count > 0 ? (int32_t)count : count < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}
static int32_t line_send(void *context, const uint8_t *bytes, uint32_t count) {
    return (void)context, moved(send(line, bytes, count, MSG_NOSIGNAL));
}
static int32_t line_recv(void *context, uint8_t *bytes, uint32_t count) {
    return (void)context, moved(recv(line, bytes, count, 0));
}
static uint32_t clock_ms(void *context) {
    struct timespec now;
    (void)context, clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000);
}
static void on_state(void *context, workrs_job *job, const char *text, uint32_t count) {
    (void)context, fprintf(stderr, "%s %.*s\n", workrs_word(job->state), (int)count, text);
}
static void on_bytes(void *context, workrs_job *job, const uint8_t *bytes, uint32_t count,
                     uint32_t offset, uint32_t total) {
    (void)context, (void)job, result_bytes = total <= sizeof result ? total : 0;
    if (result_bytes > 0) memcpy(result + offset, bytes, count);
}
static void open_line(const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, port, &hints, &found) != 0) return;
    line = socket(found->ai_family, SOCK_STREAM, 0);
    fcntl(line, F_SETFL, O_NONBLOCK); /* the client itself watches how long a connect takes */
    setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(line, found->ai_addr, found->ai_addrlen) && errno != EINPROGRESS) close(line), line = -1;
    freeaddrinfo(found);
}

int main(int argc, char **argv) {
    static uint8_t rx[512], tx[256];
    workrs_job job = {0};
    workrs_client client;
    if (argc < 7) return fputs("DEVICE FUNCTION JOB INPUT {HOST PORT}...\n", stderr), 2;
    const workrs_config config = {
        .device = argv[1], .nodes = (uint8_t)((argc - 5) / 2), .rx = rx, .rx_bytes = sizeof rx,
        .tx = tx, .tx_bytes = sizeof tx, .send = line_send, .recv = line_recv,
        .clock_ms = clock_ms, .on_state = on_state, .on_bytes = on_bytes, .timing = WORKRS_TIMING};
    workrs_error error = workrs_init(&client, &config, (uint32_t)getpid());
    if (!error) error = workrs_run(&client, &job, argv[2], argv[3], argv[4], (uint32_t)strlen(argv[4]));
    if (error) return fprintf(stderr, "%s\n", workrs_strerror(error)), 2;
    while (!workrs_is_final(job.state)) {
        char **node = argv + 5 + 2 * workrs_node(&client);
        if (line < 0 && workrs_wait_ms(&client) == 0) {
            open_line(node[0], node[1]);
            line < 0 ? workrs_unreachable(&client) : (void)workrs_begin(&client);
        }
        struct pollfd look = {.fd = line, .events = workrs_wants_write(&client) ? POLLOUT : POLLIN};
        poll(&look, 1, (int)workrs_wait_ms(&client));
        if (line >= 0 && (error = workrs_poll(&client)) != WORKRS_OK) {
            fprintf(stderr, "%s:%s: %s\n", node[0], node[1], workrs_strerror(error));
            close(line), line = -1;
        }
    }
    workrs_end(&client);
    return job.state != WORKRS_SUCCEEDED || fwrite(result, 1, result_bytes, stdout) != result_bytes;
}
