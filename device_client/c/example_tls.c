/* A whole device over TLS, with Mbed TLS 2.28 or 3: has a function run on some bytes and prints the
 * result. The file that `workrs enrol device` wrote has all else: name, nodes, authority, and key and
 * certificate or a password. Exit codes: 0 succeeded, 1 it ended otherwise, 2 wrong arguments. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "workrs.h"

enum { NODES_MAX = 5 };
static char name[64], password[128], hosts[NODES_MAX][128], *ports[NODES_MAX];
static uint8_t node_count, result[WORKRS_INPUT_MAX];
static uint32_t result_bytes;

static int line = -1, waits_for = POLLOUT; /* the socket, or none, and what TLS waits for there */
static const char *host;                   /* the node that the line goes to */
static mbedtls_x509_crt own, *authority = &own;
static mbedtls_pk_context key;
static mbedtls_ssl_config rules;
static mbedtls_ssl_context tls;
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context noise;

/* --- Below TLS: the socket. */

static int raw_moved(ssize_t count, int wanted) {
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return wanted;
    return count < 0 ? -1 : (int)count;
}
static int raw_send(void *context, const unsigned char *bytes, size_t count) {
    return (void)context, raw_moved(send(line, bytes, count, MSG_NOSIGNAL), MBEDTLS_ERR_SSL_WANT_WRITE);
}
static int raw_recv(void *context, unsigned char *bytes, size_t count) {
    return (void)context, raw_moved(recv(line, bytes, count, 0), MBEDTLS_ERR_SSL_WANT_READ);
}

/* --- What the client sends and receives by. Both go on with the handshake first. */

static int32_t moved(int count) {
    waits_for = count == MBEDTLS_ERR_SSL_WANT_READ ? POLLIN : count == MBEDTLS_ERR_SSL_WANT_WRITE ? POLLOUT : 0;
    if (count < 0 && !waits_for) fprintf(stderr, "TLS: -0x%04x\n", (unsigned)-count);
    return waits_for ? 0 : count > 0 ? count : -1;
}
static int32_t line_send(void *context, const uint8_t *bytes, uint32_t count) {
    return (void)context, moved(mbedtls_ssl_write(&tls, bytes, count));
}
static int32_t line_recv(void *context, uint8_t *bytes, uint32_t count) {
    return (void)context, moved(mbedtls_ssl_read(&tls, bytes, count));
}

/* Versions before 3.5 compare names alone: that the certificate has this address is seen here. */
static int names_address(void *context, mbedtls_x509_crt *shown, int depth, uint32_t *flags) {
    unsigned char wanted[16];
    size_t bytes = inet_pton(AF_INET, host, wanted) == 1 ? 4 : inet_pton(AF_INET6, host, wanted) == 1 ? 16 : 0;
    (void)context;
    for (mbedtls_x509_sequence *at = &shown->subject_alt_names; depth == 0 && bytes && at; at = at->next)
        if ((at->buf.tag & 0x1f) == 7 && at->buf.len == bytes && memcmp(at->buf.p, wanted, bytes) == 0)
            *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
    return 0;
}

static int read_words(const char *path) {
    static char nodes[1024], text[1100];
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    while (fgets(text, sizeof text, file) != NULL && text[0] != '-') {
        (void)sscanf(text, "name: %63s", name);
        (void)sscanf(text, "password: %127s", password);
        (void)sscanf(text, "nodes: %1023[^\n]", nodes);
    }
    fclose(file);
    for (char *at = strtok(nodes, " "); at != NULL && node_count < NODES_MAX; at = strtok(NULL, " ")) {
        char *node = hosts[node_count];
        if (sscanf(at, "%*[^=]=%127s", node) != 1 || (ports[node_count] = strrchr(node, ':')) == NULL) return 0;
        *ports[node_count++]++ = '\0'; /* n1=10.0.0.1:8883 */
    }
    return node_count > 0 && name[0] != '\0';
}

static int prepare(const char *path) {
    mbedtls_ssl_init(&tls), mbedtls_ssl_config_init(&rules), mbedtls_x509_crt_init(&own);
    mbedtls_pk_init(&key), mbedtls_entropy_init(&entropy), mbedtls_ctr_drbg_init(&noise);
    if (!read_words(path) || mbedtls_ctr_drbg_seed(&noise, mbedtls_entropy_func, &entropy, NULL, 0) ||
        mbedtls_x509_crt_parse_file(&own, path) ||
        mbedtls_ssl_config_defaults(&rules, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT))
        return 0;
    mbedtls_ssl_conf_rng(&rules, mbedtls_ctr_drbg_random, &noise);
    if (own.next != NULL) { /* key, certificate, authority; with a password the authority alone */
        authority = own.next, own.next = NULL;
#if MBEDTLS_VERSION_MAJOR < 3
        if (mbedtls_pk_parse_keyfile(&key, path, NULL)) return 0;
#else
        if (mbedtls_pk_parse_keyfile(&key, path, NULL, mbedtls_ctr_drbg_random, &noise)) return 0;
#endif
        if (mbedtls_ssl_conf_own_cert(&rules, &own, &key)) return 0;
    }
    mbedtls_ssl_conf_ca_chain(&rules, authority, NULL);
    mbedtls_ssl_conf_authmode(&rules, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_verify(&rules, names_address, NULL);
    mbedtls_ssl_set_bio(&tls, NULL, raw_send, raw_recv, NULL);
    return mbedtls_ssl_setup(&tls, &rules) == 0;
}

static void open_line(uint8_t node) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    host = hosts[node];
    if (mbedtls_ssl_session_reset(&tls) || mbedtls_ssl_set_hostname(&tls, host)) return;
    if (getaddrinfo(host, ports[node], &hints, &found) != 0) return;
    line = socket(found->ai_family, SOCK_STREAM, 0);
    fcntl(line, F_SETFL, O_NONBLOCK); /* the client itself watches how long a connect takes */
    setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(line, found->ai_addr, found->ai_addrlen) && errno != EINPROGRESS) close(line), line = -1;
    freeaddrinfo(found);
    waits_for = POLLOUT;
}

/* --- The device, as in example_posix.c. */

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

int main(int argc, char **argv) {
    static uint8_t rx[512], tx[384];
    workrs_job job = {0};
    workrs_client client;
    if (argc != 5) return fputs("CREDENTIAL FUNCTION JOB INPUT\n", stderr), 2;
    if (!prepare(argv[1])) return fprintf(stderr, "%s cannot be used\n", argv[1]), 2;
    const workrs_config config = {
        .device = name, .password = password[0] ? password : NULL, .nodes = node_count,
        .rx = rx, .rx_bytes = sizeof rx, .tx = tx, .tx_bytes = sizeof tx, .send = line_send,
        .recv = line_recv, .clock_ms = clock_ms, .on_state = on_state, .on_bytes = on_bytes,
        .timing = WORKRS_TIMING};
    workrs_error error = workrs_init(&client, &config, (uint32_t)getpid());
    if (!error) error = workrs_run(&client, &job, argv[2], argv[3], argv[4], (uint32_t)strlen(argv[4]));
    if (error) return fprintf(stderr, "%s\n", workrs_strerror(error)), 2;
    while (!workrs_is_final(job.state)) {
        uint8_t node = workrs_node(&client);
        if (line < 0 && workrs_wait_ms(&client) == 0) {
            open_line(node);
            line < 0 ? workrs_unreachable(&client) : (void)workrs_begin(&client);
        }
        /* Bytes that TLS has deciphered already are no news to the socket. */
        int is_more = line >= 0 && mbedtls_ssl_check_pending(&tls);
        struct pollfd look = {.fd = line, .events = (short)(waits_for ? waits_for : POLLIN)};
        poll(&look, 1, is_more ? 0 : (int)workrs_wait_ms(&client));
        if (line >= 0 && (error = workrs_poll(&client)) != WORKRS_OK) {
            fprintf(stderr, "%s:%s: %s\n", hosts[node], ports[node], workrs_strerror(error));
            close(line), line = -1;
        }
    }
    workrs_end(&client);
    return job.state != WORKRS_SUCCEEDED || fwrite(result, 1, result_bytes, stdout) != result_bytes;
}
