import java.util.concurrent.locks.ReentrantLock;

/** Two threads each hold a monitor and a lock for 10 of every 11 ms, as far as the other lets them. */
public class Locks {
    static final Object monitor = new Object();
    static final ReentrantLock lock = new ReentrantLock();

    static void pause(int ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void synchronizedly() {
        while (true) {
            synchronized (monitor) {
                pause(10);
            }
            pause(1);
        }
    }

    static void reentrantly() {
        while (true) {
            lock.lock();
            try {
                pause(10);
            } finally {
                lock.unlock();
            }
            pause(1);
        }
    }

    public static void main(String[] arguments) {
        for (int i = 0; i < 2; i++) {
            new Thread(Locks::synchronizedly, "monitor").start();
            new Thread(Locks::reentrantly, "reentrant").start();
        }
        System.out.println("ready");
    }
}
