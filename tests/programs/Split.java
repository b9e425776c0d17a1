// Java: two methods that split the CPU 70 : 30 on one thread and publish it (see published.h for the layout). `second` runs
// below three calls. A second argument is the number of rounds of about 20 ms after which it writes its perf map anew, as
// `jcmd PID Compiler.perfmap` does.
import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import javax.management.ObjectName;

public class Split {
  static final int ENTRIES = 1 << 16;
  static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();
  static final long[] totals = new long[2];
  static RandomAccessFile file;
  static long count;
  static long sink;

  static void words(long at, long... values) throws Exception {
    ByteBuffer bytes = ByteBuffer.allocate(8 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (long value : values) bytes.putLong(value);
    file.seek(at);
    file.write(bytes.array());
  }

  static long cpuNanos() {
    return THREADS.getCurrentThreadCpuTime();
  }

  static void publish(int path, long nanos) throws Exception {
    totals[path] += nanos;
    java.time.Instant now = java.time.Instant.now();
    words(16 + count % ENTRIES * 24, now.getEpochSecond() * 1000000000L + now.getNano(), totals[0], totals[1]);
    words(0, ++count);
  }

  static void first(long until) {
    while (cpuNanos() < until) {
      long x = sink;
      for (int i = 0; i < 100000; i++) x = x * 31 + (x >>> 7 ^ i);
      sink = x;
    }
  }

  static void second(int level, long until) {
    if (level > 0) {
      second(level - 1, until);
      sink++;
      return;
    }
    while (cpuNanos() < until) {
      long x = sink;
      for (int i = 0; i < 100000; i++) x = (x << 5 ^ x >>> 3) + i;
      sink = x;
    }
  }

  static void writeMap() throws Exception {
    ObjectName name = new ObjectName("com.sun.management:type=DiagnosticCommand");
    ManagementFactory.getPlatformMBeanServer().invoke(name, "compilerPerfmap", new Object[0], new String[0]);
  }

  public static void main(String[] arguments) throws Exception {
    file = new RandomAccessFile(arguments[0], "rw");
    file.setLength(16 + ENTRIES * 24);
    words(8, 2);
    long rounds = arguments.length > 1 ? Long.parseLong(arguments[1]) : Long.MAX_VALUE;
    for (long round = 1; ; round++) {
      long start = cpuNanos();
      first(start + 14000000);
      long between = cpuNanos();
      publish(0, between - start);
      second(3, between + 6000000);
      publish(1, cpuNanos() - between);
      if (round % rounds == 0) writeMap();
    }
  }
}
