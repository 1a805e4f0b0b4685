# Writes the MovieLens data set of Debian's package r-cran-dslabs (100,004 ratings) as TSV.
#
#   Rscript movielens.R DIR_OF_UNPACKED_PACKAGE OUTPUT_DIR
#
# Reads the package's lazy-load database directly, so that neither the package nor anything it depends on has to be
# installed: `dpkg -x r-cran-dslabs_*.deb DIR` is enough.
# OUTPUT_DIR/events.tsv: user item rating timestamp (seconds). OUTPUT_DIR/items.tsv: item title genres ("A|B").

arguments <- commandArgs(trailingOnly = TRUE)
if (length(arguments) != 2) stop("usage: movielens.R DIR_OF_UNPACKED_PACKAGE OUTPUT_DIR")
data_base <- file.path(arguments[1], "usr/lib/R/site-library/dslabs/data/Rdata")
if (!file.exists(paste0(data_base, ".rdb"))) stop("no lazy-load database at ", data_base, ".rdb")

package <- new.env()
invisible(lazyLoad(data_base, package, filter = function(name) name == "movielens"))
ratings <- package$movielens
expected <- c("movieId", "title", "year", "genres", "userId", "rating", "timestamp")
if (!identical(names(ratings), expected)) {
  stop("movielens has the columns ", toString(names(ratings)), "; expected ", toString(expected))
}

write_tsv <- function(table, name) {
  path <- file.path(arguments[2], name)
  write.table(table, paste0(path, ".part"), sep = "\t", quote = FALSE, row.names = FALSE, na = "", fileEncoding = "UTF-8")
  invisible(file.rename(paste0(path, ".part"), path))
}

clean <- function(text) gsub("[\t\r\n]", " ", enc2utf8(as.character(text)))
items <- ratings[!duplicated(ratings$movieId), ]
items <- items[order(items$movieId), ]
# A few films have no title in the package: leave those empty rather than inventing one.
title <- ifelse(is.na(items$title), "", clean(items$title))
title <- ifelse(is.na(items$year) | title == "", title, paste0(title, " (", items$year, ")"))
genres <- ifelse(is.na(items$genres) | items$genres == "(no genres listed)", "", clean(items$genres))
write_tsv(data.frame(item = items$movieId, title = title, genres = genres), "items.tsv")

events <- data.frame(user = ratings$userId, item = ratings$movieId, rating = ratings$rating,
                     timestamp = format(ratings$timestamp, scientific = FALSE, trim = TRUE))
# In order of time, as a live system would have seen them.
write_tsv(events[order(ratings$timestamp, ratings$userId), ], "events.tsv")
