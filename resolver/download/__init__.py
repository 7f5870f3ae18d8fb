"""Downloads: planned, transferred, verified, published.

``plan`` turns what is asked for into rows that are known to be good, ``queue`` decides what runs when,
``runner`` takes one download from start to end, ``transfer`` moves the bytes, ``verify`` looks at them,
``publish`` gives the file its name, ``journal`` writes down what happened and tells it.

For company: ``place`` names destination and part so that everybody finds them, ``claims`` says which
process works on which, ``sidecar`` tells of what a part is, ``copies`` takes what is on a disk already,
``existing`` compares a file that is there with a server's, ``orphans`` finds what nobody goes on with.

Codes of the errors, and what each asks of the user. Refused at once, before anything is downloaded:

=====================  ==============================================================================
NAME_UNSAFE            choose a name that stays in its folder
FOLDER_UNKNOWN         install the node pack that brings the folder, or add it to extra_model_paths.yaml
FOLDER_NOT_WRITABLE    check the permissions of the folder's directories
EXTENSION_NOT_ALLOWED  this is not a model file; nothing else is downloaded
URL_INVALID            correct the URL
URL_SCHEME             use https
URL_CREDENTIALS        remove user and password from the URL; set a token instead
URL_HOST_NOT_ALLOWED   add the host to CMR_ALLOWED_HOSTS, if you trust it
FILE_EXISTS            remove or rename the file that is there (also found later: the part is kept)
DUPLICATE_DOWNLOAD     wait for, or cancel, the other download to the same place
NO_SPACE               free some space (also found later: the part is kept, retry)
=====================  ==============================================================================

Found by asking the server or while downloading; those with a star are retried by themselves:

=====================  ==============================================================================
GATED                  accept the licence on the model's page and set a token
TOKEN_REJECTED         make a new token and set it
UNAUTHORIZED           set a token, or get access on the model's page
NOT_FOUND              choose another source
NOT_FOUND_OR_PRIVATE   check the link; if the repository is yours, set a token
RATE_LIMITED *         wait, or set a token
SERVER_ERROR *         wait
SERVER_REFUSED         choose another source
NETWORK *              check the connection
TLS_FAILED             set SSL_CERT_FILE, if your network inspects traffic
REDIRECT_REFUSED       the server points to a place that is not allowed; see URL_HOST_NOT_ALLOWED
EXPIRED *              copy a fresh link (retried where we can get one ourselves)
TRUNCATED *            the server keeps sending too little; choose another source
HASH_MISMATCH          the content is not the one wanted; choose another source
SIZE_MISMATCH          the same, by its size
CHANGED_ON_SERVER      the file was replaced while it was downloaded; look for it anew
NOT_A_MODEL            the link leads to a page: log in (set a token), or use the file's own link
FILE_DAMAGED           the file at the source is broken; choose another
SIZE_UNKNOWN           state size or SHA-256, or choose another source
ENCODING_REFUSED       choose another source
NOT_WRITABLE           check the permissions of the directory
DISK_ERROR             check the disk
FETCHER_LOST *         the process that fetched it has ended; look for what ended it
STORE_UNAVAILABLE      make room for, or give access to, the program's own records
=====================  ==============================================================================

A queued download with ``DOWNLOADING_ELSEWHERE`` waits for another process that downloads to the same place,
or still has the part file open.

Answers to commands: ``DOWNLOAD_UNKNOWN`` (no such download), ``WRONG_STATE`` (not possible in its
present state), ``PART_UNKNOWN`` (no such part file), ``PART_IN_USE`` (a download goes on with it).
"""
