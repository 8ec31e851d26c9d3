# Ways out that a Perl program has: attack.pl WAY TOKEN WHERE...
use strict;
use warnings;
use Socket;

$| = 1;
print "trying\n";
my ($way, $token, $where, $call) = @ARGV;
my $home = inet_aton("127.0.0.1");
my $s;
my %ways = (
    tcp => sub { socket($s, PF_INET, SOCK_STREAM, 0) && connect($s, sockaddr_in($where, $home)) && syswrite($s, $token) },
    udp => sub { socket($s, PF_INET, SOCK_DGRAM, 0) && send($s, $token, 0, sockaddr_in($where, $home)) },
    local => sub { socket($s, PF_UNIX, SOCK_STREAM, 0) && connect($s, sockaddr_un($where)) && syswrite($s, $token) },
    syscall => sub {
        my $fd = syscall($call + 0, 2, 1, 0);
        $fd >= 0 && open($s, "+<&=", $fd) && connect($s, sockaddr_in($where, $home)) && syswrite($s, $token);
    },
);
$ways{$way}->() or print "refused ", $! + 0, "\n";
