/* Time and the system's log for the real /usr/sbin/cron (LD_PRELOAD): sleep() takes no time, it moves the clock.

   The clock is a plain variable, so a job's process keeps the time of its fork: what cron logs as CMD carries the
   exact second at which its main loop started the job, however busy the machine is. Used by record_debian_cron.py. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static time_t now, end;
static int out = -1;

__attribute__((constructor)) static void begin(void) {
    now = atoll(getenv("CLOCK_START"));
    end = atoll(getenv("CLOCK_END"));
    out = open(getenv("CLOCK_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

time_t time(time_t *into) {
    if (into) *into = now;
    return now;
}

int gettimeofday(struct timeval *into, void *zone) {
    (void)zone;
    into->tv_sec = now;
    into->tv_usec = 0;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *into) {
    (void)clock;
    into->tv_sec = now;
    into->tv_nsec = 0;
    return 0;
}

unsigned int sleep(unsigned int seconds) {
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
    now += seconds;
    if (now > end) _exit(0);
    return 0;
}

static void say(const char *format, va_list values) {
    char text[1000];
    int length = vsnprintf(text, sizeof text, format, values);
    if (length >= (int)sizeof text) length = sizeof text - 1;
    dprintf(out, "%lld %.*s\n", (long long)now, length, text);
}

void syslog(int priority, const char *format, ...) {
    (void)priority;
    va_list values;
    va_start(values, format);
    say(format, values);
    va_end(values);
}

void __syslog_chk(int priority, int flag, const char *format, ...) {
    (void)priority, (void)flag;
    va_list values;
    va_start(values, format);
    say(format, values);
    va_end(values);
}
